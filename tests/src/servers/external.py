"""A server of KEDA's contract for external scalers, by gRPC's own library for Python.

It answers as FOLDER/state.json says at that moment, and keeps what it was last asked in
FOLDER/CALL.json. The contract is written down here once more, so that it isn't ours alone.
"""

import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
TEXT, WHOLE, FLOAT, TRUTH = (
    FIELD.TYPE_STRING,
    FIELD.TYPE_INT64,
    FIELD.TYPE_DOUBLE,
    FIELD.TYPE_BOOL,
)
# Each message: a field's number, name and type, or the message that it has many or one of.
CONTRACT = {
    "ScaledObjectRef": [
        (1, "name", TEXT),
        (2, "namespace", TEXT),
        (3, "scalerMetadata", ["ScaledObjectRef.ScalerMetadataEntry"]),
    ],
    "IsActiveResponse": [(1, "result", TRUTH)],
    "GetMetricSpecResponse": [(1, "metricSpecs", ["MetricSpec"])],
    "MetricSpec": [
        (1, "metricName", TEXT),
        (2, "targetSize", WHOLE),
        (3, "targetSizeFloat", FLOAT),
    ],
    "GetMetricsRequest": [(1, "scaledObjectRef", "ScaledObjectRef"), (2, "metricName", TEXT)],
    "GetMetricsResponse": [(1, "metricValues", ["MetricValue"])],
    "MetricValue": [
        (1, "metricName", TEXT),
        (2, "metricValue", WHOLE),
        (3, "metricValueFloat", FLOAT),
    ],
}


def contract():
    """The messages' classes, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="externalscaler.proto", package="externalscaler", syntax="proto3"
    )
    for name, fields in CONTRACT.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            many = isinstance(kind, list)
            label = FIELD.LABEL_REPEATED if many else FIELD.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if many or isinstance(kind, str):
                made.type = FIELD.TYPE_MESSAGE
                made.type_name = ".externalscaler." + (kind[0] if many else kind)
            else:
                made.type = kind
    entry = file.message_type[0].nested_type.add(name="ScalerMetadataEntry")
    entry.options.map_entry = True
    for number, field in [(1, "key"), (2, "value")]:
        entry.field.add(name=field, number=number, type=TEXT, label=FIELD.LABEL_OPTIONAL)
    found = message_factory.GetMessages([file])
    return {name: found["externalscaler." + name] for name in CONTRACT}


MESSAGES = contract()
FOLDER = sys.argv[1]


def state():
    with open(os.path.join(FOLDER, "state.json")) as file:
        return json.load(file)


def is_active(_):
    return MESSAGES["IsActiveResponse"](result=state()["active"])


def stream_is_active(said, context):
    """Whenever it is another one than before, and nothing at first: no header either."""
    while context.is_active():
        active = state()["active"]
        if active != said:
            said = active
            yield MESSAGES["IsActiveResponse"](result=said)
        time.sleep(0.02)


def get_metric_spec(_):
    answer = MESSAGES["GetMetricSpecResponse"]()
    for metric in state()["metrics"]:
        whole, decimal = metric["target"]
        answer.metricSpecs.add(
            metricName=metric["name"], targetSize=whole, targetSizeFloat=decimal
        )
    return answer


def get_metrics(asked):
    answer = MESSAGES["GetMetricsResponse"]()
    for metric in state()["metrics"]:
        if metric["name"] == asked.metricName:
            for whole, decimal in metric["values"]:
                answer.metricValues.add(
                    metricName=asked.metricName + "x" * metric.get("padding", 0),
                    metricValue=whole,
                    metricValueFloat=decimal,
                )
    return answer


CALLS = {
    "IsActive": (is_active, "ScaledObjectRef"),
    "StreamIsActive": (stream_is_active, "ScaledObjectRef"),
    "GetMetricSpec": (get_metric_spec, "ScaledObjectRef"),
    "GetMetrics": (get_metrics, "GetMetricsRequest"),
}


def note(call, asked):
    """What a call was about, for the test to read in whole."""
    about = asked.scaledObjectRef if call == "GetMetrics" else asked
    told = {
        "name": about.name,
        "namespace": about.namespace,
        "metadata": dict(about.scalerMetadata),
        "metric": getattr(asked, "metricName", None),
    }
    path = os.path.join(FOLDER, call + ".json")
    part = path + ".%d" % threading.get_ident()
    with open(part, "w") as file:
        json.dump(told, file)
    os.replace(part, path)


class Calls(grpc.GenericRpcHandler):
    """Those that there are at that moment."""

    def service(self, details):
        package, _, call = details.method.rpartition("/")
        if package != "/externalscaler.ExternalScaler" or call not in state()["calls"]:
            return None
        answers, asked = CALLS[call]

        def begin(request, context):
            note(call, request)
            fails = state().get("fails", {}).get(call)
            if fails:
                context.abort(getattr(grpc.StatusCode, fails[0]), fails[1])

        def answer(request, context):
            begin(request, context)
            return answers(request)

        def stream(request, context):
            before = state()["active"]
            begin(request, context)
            yield from answers(before, context)

        streams = call.startswith("Stream")
        handler = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        return handler(
            stream if streams else answer,
            request_deserializer=MESSAGES[asked].FromString,
            response_serializer=lambda it: it.SerializeToString(),
        )


def read(name):
    with open(os.path.join(FOLDER, name), "rb") as file:
        return file.read()


def main():
    server = grpc.server(
        futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers([Calls()])
    pair = [(read("tls.key"), read("tls.crt"))]
    plain, secure, mutual = sys.argv[2:]
    server.add_insecure_port("127.0.0.1:" + plain)
    server.add_secure_port("127.0.0.1:" + secure, grpc.ssl_server_credentials(pair))
    known = grpc.ssl_server_credentials(pair, read("client.crt"), require_client_auth=True)
    server.add_secure_port("127.0.0.1:" + mutual, known)
    server.start()
    server.wait_for_termination()


main()
