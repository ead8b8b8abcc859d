"""Messages as the origin of flowstate.v1 encodes them: bytes, and the JSON of those that have a known text."""

from __future__ import annotations

from stepflow.wire import flowstate_pb2 as pb

S, C = "0a0d0a02320012070a017310013200", "0a0b0a02320012050a01633200"
HEX = {
    "state": (
        pb.State,
        "0a0173107b1a060a016112013122060a016c12013228b704320b1201661a060a0174120133",
    ),
    "empty state": (pb.State, "3200"),
    "empty ctx": (pb.StateCtx, "0a02320012023200"),
    "ctx": (
        pb.StateCtx,
        "0a070a01731001320012070a0173100232001a03120178221d0a01621218100822044150383d2a0e0a0662696e617279120474727565"  # noqa: ISC004
        "220b0a01641206100722026869",
    ),
    "data": (pb.Data, "100322044141482f2a0e0a0662696e617279120474727565"),
    "delayed state": (pb.DelayedState, "0a070a017310013200100918d902"),
    "transit": (pb.Command, f"{S}1a0f0a0208001201661a060a016b120176"),
    "park": (pb.Command, f"{S}320c0a0208001a060a016b120176"),
    "execute": (pb.Command, f"{S}3a040a020800"),
    "delay": (pb.Command, f"{S}42140a02080018d90220012a016632060a016b120176"),
    "commit": (
        pb.Command,
        f"{S}{C}{S}{C}4a220a0632040a0208000a0d5a0b0a020801120208001a01700a091a070a020801120166",
    ),
    "noop": (pb.Command, "5200"),
    "stack": (pb.Command, f"{C}{S}5a0b0a020800120208011a0170"),
    "unstack": (pb.Command, f"{C}{S}620b0a020800120208011a0170"),
    "store data": (pb.Command, f"{S}aa01070a020800120164"),
    "get data": (pb.Command, f"{S}b201070a020800120164"),
    "get state by id": (pb.Command, "0a080a023200120232008a01090a017310031a020800"),
    "get state by labels": (pb.Command, "0a080a0232001202320092010c0a060a016c12013212020800"),
    "get states": (pb.Command, "9a011d080510d2091a080a060a016c1201321a080a060a016d12013320012832"),
    "states": (
        pb.Command,
        "9a012a080510d2091a080a060a016c1201321a080a060a016d12013320012832320b0a070a0173100632001001",
    ),
    "get the newest": (pb.Command, "9a010d08ffffffffffffffffff012801"),
    "get delayed states": (pb.Command, "a20109080a1014180420f403"),
    "delayed states": (pb.Command, "a2011d080a1014180420f4032a120a0e0a070a017310013200100918d9021001"),
    "not found": (
        pb.Error,
        "0a096e6f745f666f756e6412187374617465206e6f7420666f756e643b2069643d6e6f7065",
    ),
    "aborted": (pb.Error, "0a0761626f727465641211726576206d69736d617463683a20702d31"),
}
_S, _C = '{"current":{"id":"s","rev":"1","transition":{}}}', '{"current":{"id":"c","transition":{}}}'
JSON = {
    "empty state": '{"transition":{}}',
    "empty ctx": '{"current":{"transition":{}}}',
    "commit": f'{{"stateCtxs":[{_S},{_C},{_S},{_C}],"commit":{{"commands":[{{"park":{{"stateRef":{{"idx":"0"}}}}}},'
    '{"stack":{"stackedStateRef":{"idx":"0"},"carrierStateRef":{"idx":"1"},"annotation":"p"}},'
    '{"transit":{"stateRef":{"idx":"1"},"flowId":"f"}}]}}',
    "unstack": f'{{"stateCtxs":[{_C},{_S}],"unstack":{{"carrierStateRef":{{"idx":"0"}},"annotation":"p",'
    '"unstackStateRef":{"idx":"1"}}}',
    "get states": '{"getStates":{"sinceRev":"5","sinceTime_usec":"1234","labels":[{"l":"2"},{"m":"3"}],'
    '"latestOnly":true,"limit":"50"}}',
    "get delayed states": '{"getDelayedStates":{"sinceTimeSec":"10","untilTimeSec":"20","offset":"4","limit":"500",'
    '"Result":null}}',
    "not found": '{"code":"not_found","message":"state not found; id=nope"}',
}
