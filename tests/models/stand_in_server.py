"""A stand-in for NDIF: takes a request over HTTP, runs it on a model of its own, answers on a websocket.

`python stand_in_server.py FOLDER MODE TASK` prints its port. MODE: `ok`; `error` fails every job; `drop` closes the
socket in the middle of one; `version` takes only clients of another nnsight.
"""

import base64
import email
import hashlib
import io
import json
import queue
import struct
import sys
import threading
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from nnsight.modeling.transformers import TransformersModel
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel, Status
from nnsight.tracing.tracer import dec, inc
from transformers import AutoTokenizer

KEY = "a key"
MODEL, MODE = None, "ok"
SESSIONS: dict[str, queue.Queue] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):  # /subscribe
        accept = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101, "Switching Protocols")
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(accept.encode()).digest()).decode())
        self.end_headers()
        session = uuid.uuid4().hex
        SESSIONS[session] = queue.Queue()
        self.frame(1, json.dumps({"session_id": session}).encode())
        for message in iter(SESSIONS[session].get, None):
            self.frame(2, message) if isinstance(message, bytes) else self.frame(1, message.encode())
        if MODE != "drop":
            self.frame(8, struct.pack(">H", 1000))  # goodbye
        self.close_connection = True

    def frame(self, kind, data):
        n = len(data)
        head = bytes([0x80 | kind]) + (
            bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 65536 else b"\x7f" + struct.pack(">Q", n)
        )
        self.wfile.write(head + data)
        self.wfile.flush()

    def do_POST(self):  # /request
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("ndif-api-key") != KEY:
            return self.answer(401, {"detail": "Missing or invalid API key"})
        if MODE == "version":
            return self.answer(400, {"detail": f"nnsight {self.headers['nnsight-version']} is not 0.7.0, upgrade"})
        parts = email.message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        fields = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in parts.get_payload()
        }
        request = RequestModel.model_validate_json(fields["data"])
        self.answer(200, json.loads(ResponseModel(id="1", status=Status.RECEIVED).model_dump_json()))
        running = ResponseModel(id="1", status=Status.RUNNING).model_dump_json()
        for message in (running, None) if MODE == "drop" else (running, job(request, fields["blob"]), None):
            SESSIONS[request.session_id].put(message)


def job(request, blob):
    try:
        if MODE == "error":
            raise RuntimeError("CUDA out of memory on the server")
        tracer = RequestModel.deserialize(blob, MODEL._remoteable_persistent_objects(), request.compress)
        given = dict(tracer.info.frame.f_locals)
        inc()
        try:
            tracer.execute(tracer.info.code)
        finally:
            dec()
        saved = {name: x for name, x in tracer.info.frame.f_locals.items() if given.get(name) is not x}
        file = io.BytesIO()
        torch.save(saved, file)
        data = file.getvalue()
        if request.compress:
            import zstandard

            data = zstandard.ZstdCompressor().compress(data)
        return ResponseModel(id="1", status=Status.COMPLETED, data=data).pickle()
    except BaseException:
        return ResponseModel(id="1", status=Status.ERROR, description=traceback.format_exc()).model_dump_json()


if __name__ == "__main__":
    sys.modules["promptscope"] = None  # a server has nothing of ours
    MODE = sys.argv[2]
    MODEL = TransformersModel(
        sys.argv[1],
        task=sys.argv[3],
        tokenizer=AutoTokenizer.from_pretrained(sys.argv[1]),
        dispatch=True,
        attn_implementation="eager",
        device="cpu",
    )
    MODEL.requires_grad_(False) if hasattr(MODEL, "requires_grad_") else None
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()
