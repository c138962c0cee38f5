"""What `bench inprocess` measures: one sample of a load, on standard output as a rate.

    commands PORT KEY COUNT      commands on one connection, by Paramiko
    sftp PORT KEY MIB            bytes into a remote /dev/null, by Paramiko
    web FERNET COUNT             requests to a web server in this process; FERNET 1: each opens and seals a cookie with cryptography
"""
import sys
import time


def connect(port, key):
    import paramiko

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", int(port), "root", key_filename=key, allow_agent=False, look_for_keys=False)
    return client


def commands(port, key, count):
    client = connect(port, key)
    began = time.monotonic()
    for _ in range(int(count)):
        _, out, _ = client.exec_command("true")
        assert out.channel.recv_exit_status() == 0
    rate = int(count) / (time.monotonic() - began)
    client.close()
    return rate


def sftp(port, key, mib):
    client = connect(port, key)
    chunk = bytes(1 << 20)
    with client.open_sftp() as files, files.open("/dev/null", "wb") as remote:
        remote.set_pipelined(True)
        began = time.monotonic()
        for _ in range(int(mib)):
            remote.write(chunk)
        remote.stat()
        rate = int(mib) / (time.monotonic() - began)
    client.close()
    return rate


def web(fernet, count):
    import socket
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from cryptography.fernet import Fernet

    box = Fernet(Fernet.generate_key())
    cookie = box.encrypt(b"user=alice; " * 8)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            body = box.encrypt(box.decrypt(cookie)) if fernet == "1" else cookie
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = socket.create_connection(server.server_address)
    began = time.monotonic()
    for _ in range(int(count)):
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"=="):
            part = client.recv(65536)
            assert part
            answer += part
    return int(count) / (time.monotonic() - began)


print({"commands": commands, "sftp": sftp, "web": web}[sys.argv[1]](*sys.argv[2:]))
