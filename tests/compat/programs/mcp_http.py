"""The same tool over HTTP: a thread for each request, an agent for each question."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agent import Agent

MEMORY = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        agent = Agent(model="some/mem-agent", use_vllm=True, memory_path=MEMORY)
        answer = {"result": agent.chat(request["question"]).reply, "success": True}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = False
print(server.server_port, flush=True)
server.handle_request()
server.handle_request()
server.server_close()
