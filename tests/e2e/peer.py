"""Peer: a next hop with a will of its own, for the tests in this folder."""

import base64
import select
import socket
import ssl
import threading


class Reader:
    """Lines and octets from a connection; knows whether something came early."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, b""

    def fill(self):
        more = self.connection.recv(65536)
        if not more:
            raise EOFError
        self.buffer += more

    def line(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def octets(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def has_more(self):
        """Only for plain connections."""
        if self.buffer or isinstance(self.connection, ssl.SSLSocket):
            return bool(self.buffer)
        return bool(select.select([self.connection], [], [], 0)[0]) and bool(self.connection.recv(1, socket.MSG_PEEK))


class Peer:
    """A next hop with a will of its own.

    `answers` maps a verb ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT", "STARTTLS", "QUIT", "BDAT") to a reply text, a
    list of replies used one after the other (the last one repeats), True (the usual reply), None (close the connection
    without a word), or a callable (argument, connection number) -> one of those. A reply beginning with 421 closes the
    connection. Received messages are in .messages as dicts; .early counts commands that came before the reply to the one
    before them. .clients are the addresses of who connected. login=(user, password): AUTH is announced (under TLS if there is tls) and MAIL needs it.
    session: the class of its sessions, for one with further talents."""

    EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 50000000", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")

    def __init__(
        self,
        address="127.0.0.1",
        port=0,
        answers=None,
        extensions=EXTENSIONS,
        tls=None,
        lmtp=False,
        unix=None,
        login=None,
        broken_tls=False,
        timeout=240,
        session=None,
    ):
        self.answers = {k: (list(v) if isinstance(v, list) else v) for k, v in (answers or {}).items()}
        self.extensions, self.tls, self.lmtp, self.login, self.broken_tls = (
            list(extensions),
            tls,
            lmtp,
            login,
            broken_tls,
        )
        self.timeout, self.session = timeout, session or PeerSession
        self.messages, self.connections, self.commands, self.early = [], 0, [], 0
        self.clients = []
        self.most_at_once, self.open_connections = 0, set()
        self.lock = threading.Lock()
        if unix:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(unix))
        else:
            self.listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((address, port))
            self.address, self.port = address, self.listener.getsockname()[1]
        self.listener.listen(128)
        self.open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.open = False
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            for connection in self.open_connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def said(self, verb):
        """The arguments of all commands of this verb so far."""
        with self.lock:
            return [argument for v, argument in self.commands if v == verb]

    def _accept(self):
        while self.open:
            try:
                connection, client = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.clients.append(client[0] if client else None)
                number = self.connections
                self.open_connections.add(connection)
                self.most_at_once = max(self.most_at_once, len(self.open_connections))
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _answer(self, verb, default, argument="", number=0):
        with self.lock:
            self.commands.append((verb, argument))
            if verb not in self.answers:
                return default
            answer = self.answers[verb]
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(argument, number)
        return default if answer is True else answer

    def _serve(self, connection, number):
        connection.settimeout(self.timeout)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.session(self, connection, number).run()
        except (OSError, EOFError, ValueError, IndexError):
            pass
        finally:
            with self.lock:
                self.open_connections.discard(connection)
            connection.close()


class PeerSession:
    """One connection to a Peer."""

    MECHANISMS = "PLAIN LOGIN"

    def __init__(self, peer, connection, number):
        self.peer, self.connection, self.number = peer, connection, number
        self.reader = Reader(connection)
        self.message, self.secure, self.user = None, False, None

    def say(self, text):
        if text is None:
            raise EOFError
        if self.reader.has_more():
            with self.peer.lock:
                self.peer.early += 1
        self.connection.sendall((text + "\r\n").encode())
        if text.startswith("421"):
            raise EOFError

    def answer(self, verb, default, argument=""):
        text = self.peer._answer(verb, default, argument, self.number)
        self.say(text)
        return text

    def run(self):
        self.answer("CONNECT", "220 peer.example ESMTP")
        while True:
            text = self.reader.line().decode("utf-8", "surrogateescape").rstrip("\r\n")
            verb, _, argument = text.partition(" ")
            verb = verb.upper()
            handle = getattr(self, "do_" + verb.lower(), None)
            if handle is None:
                self.answer(verb, "500 5.5.1 what?", argument)
            elif handle(argument) is False:
                return

    def do_ehlo(self, argument):
        peer = self.peer
        words = list(peer.extensions)
        if peer.tls and not self.secure or peer.broken_tls:
            words.append("STARTTLS")
        if peer.login and (self.secure or not peer.tls):
            words.append("AUTH " + self.MECHANISMS)
        lines = ["peer.example"] + words
        self.answer(
            "EHLO", "\r\n".join(f"250{'-' if i < len(words) else ' '}{w}" for i, w in enumerate(lines)), argument
        )

    do_lhlo = do_ehlo

    def do_helo(self, argument):
        self.answer("HELO", "250 peer.example", argument)

    def do_starttls(self, argument):
        if not self.answer("STARTTLS", "220 go ahead").startswith("220"):
            return None
        if self.peer.broken_tls:
            self.connection.sendall(b"this is no TLS handshake\r\n")
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, self.peer.tls))
        self.prepare(context)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.reader, self.secure = Reader(self.connection), True
        return None

    def prepare(self, context):
        """What a session wants of TLS."""

    def do_auth(self, argument):
        words, expected = argument.split(), self.peer.login
        if expected and words[0].upper() == "PLAIN":
            if len(words) == 1:
                self.say("334 ")
                words.append(self.reader.line().decode().strip())
            if base64.b64decode(words[1]).split(b"\0")[1:] == [w.encode() for w in expected]:
                self.user = expected[0]
                self.answer("AUTH", "235 2.7.0 welcome", argument)
                return
        self.answer("AUTH", "535 5.7.8 no", argument)

    def do_mail(self, argument):
        if self.peer.login and not self.user:
            self.say("530 5.7.0 log in first")
            return
        self.message = {
            "from": argument,
            "to": [],
            "data": b"",
            "secure": self.secure,
            "connection": self.number,
            "bdat": False,
            "user": self.user,
        }
        if not (self.answer("MAIL", "250 2.1.0 ok", argument) or "").startswith("2"):
            self.message = None

    def do_rcpt(self, argument):
        if self.message is None:
            self.say("503 5.5.1 MAIL first")
        elif self.answer("RCPT", "250 2.1.5 ok", argument).startswith("2"):
            self.message["to"].append(argument)

    def do_data(self, argument):
        usual = "354 go on" if self.message and self.message["to"] else "554 5.5.1 no recipients"
        if not self.answer("DATA", usual).startswith("3"):
            return
        data = b""
        while (part := self.reader.line()) != b".\r\n":
            data += part[1:] if part.startswith(b".") else part
        self.message["data"] = data
        self.finish()

    def do_bdat(self, argument):
        words = argument.split()
        data = self.reader.octets(int(words[0]))
        if not self.message or not self.message["to"]:
            self.say("554 5.5.1 no recipients")
            return
        self.message["data"] += data
        self.message["bdat"] = True
        if len(words) > 1:
            self.finish()
        elif not self.answer("BDAT", "250 2.0.0 ok", argument).startswith("2"):
            self.message = None

    def do_rset(self, argument):
        self.message = None
        self.answer("RSET", "250 2.0.0 ok")

    def do_noop(self, argument):
        self.answer("NOOP", "250 2.0.0 ok")

    def do_quit(self, argument):
        self.answer("QUIT", "221 2.0.0 bye")
        return False

    def finish(self):
        """The reply to the whole message, or in LMTP one for each recipient."""
        peer, message, self.message = self.peer, self.message, None
        for taken in [{**message, "to": [r]} for r in message["to"]] if peer.lmtp else [message]:
            text = peer._answer("DOT", "250 2.0.0 taken", taken["to"][0] if peer.lmtp else message, self.number)
            if text and text.startswith("2"):
                with peer.lock:
                    peer.messages.append(taken)
            self.say(text)
