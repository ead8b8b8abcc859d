"""The verb `publish-topic`."""


def test_publish_topic_publishes_once(stepflow):
    stepflow("start", "shop", '{"number": 1}')
    for _ in range(2):
        told = stepflow("publish-topic", "a/b", '"x"', "--id", "one", "--keep", "1h")
        assert told == "a/b: the message is published\n"
    (found,) = stepflow.json("list", "--flow", "stepflow.topic")
    assert [one["flow"] for one in stepflow.json("list")] == ["order.v1"]
    assert stepflow.json("list", "--count") == {"order.v1": {"queued": 1}}
    assert [one["flow"] for one in stepflow.json("check", "shop")] == ["order.v1"]
    assert stepflow.json("list", "--flow", "stepflow.topic", "--status", "failed") == []
    assert stepflow.err == ""
    assert found["id"] == "stepflow.topic/a%2Fb/one"
