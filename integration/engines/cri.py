#!/usr/bin/env python3
"""Speaks the Container Runtime Interface to containerd, as a kubelet does.

    cri.py PORT

Answers HTTP requests on 127.0.0.1: POST /CALL with the request as JSON, where CALL is one of RuntimeService's or
ImageService's. The answer is the response as JSON, or `cri: STATUS: message`.
"""

import http.server
import json
import sys

sys.path.insert(0, "/opt")

import cri_pb2  # made by build; in the guest, it is beside this file
import grpc
from google.protobuf import json_format

CHANNEL = grpc.insecure_channel("unix:///run/containerd/containerd.sock")


def message(descriptor):
    return getattr(cri_pb2, descriptor.name)


def answer(call, request):
    for service in cri_pb2.DESCRIPTOR.services_by_name.values():
        if method := service.methods_by_name.get(call):
            break
    else:
        return f"cri: there is no call {call}"
    try:
        response = CHANNEL.unary_unary(
            f"/{service.full_name}/{call}",
            request_serializer=message(method.input_type).SerializeToString,
            response_deserializer=message(method.output_type).FromString,
        )(json_format.ParseDict(request, message(method.input_type)()), timeout=30)
    except grpc.RpcError as error:
        return f"cri: {error.code().name}: {error.details()}"
    except json_format.ParseError as error:
        return f"cri: {error}"
    return json_format.MessageToJson(
        response, preserving_proto_field_name=True, including_default_value_fields=True, indent=None
    )


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = answer(self.path.lstrip("/"), request).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
