"""A SOCKS 5 proxy (RFC 1928, 1929) and an address that never answers, for the tests in this folder."""

import socket
import threading


def octets(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class Proxy:
    """login=(user, password): it wants that. names maps host names to addresses; .asked are the targets as they came."""

    def __init__(self, login=None, names=None):
        self.login, self.names, self.asked = login, names or {}, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def greets(self, connection):
        version, count = octets(connection, 2)
        methods = octets(connection, count)
        wanted = 2 if self.login else 0
        if version != 5 or wanted not in methods:
            connection.sendall(b"\x05\xff")
            return False
        connection.sendall(bytes([5, wanted]))
        if not self.login:
            return True
        user = octets(connection, octets(connection, 2)[1])
        password = octets(connection, octets(connection, 1)[0])
        good = (user.decode(), password.decode()) == self.login
        connection.sendall(b"\x01" + (b"\x00" if good else b"\x01"))
        return good

    def target(self, connection):
        kind = octets(connection, 4)[3]
        if kind == 1:
            host = socket.inet_ntop(socket.AF_INET, octets(connection, 4))
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, octets(connection, 16))
        else:
            host = octets(connection, octets(connection, 1)[0]).decode()
        port = int.from_bytes(octets(connection, 2), "big")
        self.asked.append((host, port))
        return self.names.get(host, host), port

    def serve(self, connection):
        try:
            if not self.greets(connection):
                return
            try:
                out = socket.create_connection(self.target(connection), 10)
            except OSError:
                connection.sendall(b"\x05\x05\x00\x01" + bytes(6))
                return
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
            threading.Thread(target=self.pump, args=(out, connection), daemon=True).start()
            self.pump(connection, out)
        except (OSError, EOFError):
            pass
        finally:
            connection.close()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class BlackHole:
    """A port at which connections are neither taken nor refused: its backlog is full."""

    def __init__(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(0)
        self.fillers = []
        for _ in range(8):
            s = socket.socket(family)
            s.settimeout(0.1)
            self.fillers.append(s)
            try:
                s.connect((address, port))
            except OSError:
                break
        else:
            raise AssertionError("the backlog did not fill up")

    def close(self):
        for s in [*self.fillers, self.listener]:
            s.close()
