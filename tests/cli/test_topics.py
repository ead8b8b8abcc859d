"""The verb `publish-topic`."""


def test_publish_topic_publishes_once(stepflow):
    stepflow("start", "shop", '{"number": 1}')
    for _ in range(2):
        told = stepflow("publish-topic", "a/b", '"x"', "--id", "one", "--keep", "1h")
        assert told == "a/b: the message is published\n"
    (found,) = stepflow.json("list", "--flow", "stepflow.topic")
    assert found["id"] == "stepflow.topic/a%2Fb/one"
