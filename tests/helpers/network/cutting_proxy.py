"""A TCP proxy on the loopback that can lose a server's answer, as a cut link does."""

import contextlib
import socket
import threading


class CuttingProxy:
    """Passes on all bytes between its port and a server's, until it is told to cut.

    After `lose_next_answer`, what the client sends next reaches the server; the client's connection is closed in place
    of the answer. The server's side stays open, as if it did not know yet.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.answers_lost = 0
        self._is_losing = threading.Event()
        self._damage: tuple[bytes, list[bytes]] = (b"", [])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_next_answer(self) -> None:
        """The next answer of the server is lost."""
        self._is_losing.set()

    def damage(self, content: bytes, *replacements: bytes) -> None:
        """Replaces a text in the server's answers, in each answer by another."""
        self._damage = (content, list(replacements))

    def close(self) -> None:
        """Ends all connections."""
        self._listener.close()
        for one in self._open:
            one.close()

    def _damaged(self, content: bytes) -> bytes:
        found, replacements = self._damage
        return content.replace(found, replacements.pop(0)) if replacements and found in content else content

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                if is_answer and self._is_losing.is_set():
                    self._is_losing.clear()
                    self.answers_lost += 1
                    target.shutdown(socket.SHUT_RDWR)
                    target.close()
                    return
                target.sendall(self._damaged(content) if is_answer else content)
            if is_answer:  # a client that ends closes the server's side only where the link still works
                target.shutdown(socket.SHUT_RDWR)
            elif target.fileno() >= 0 and source.fileno() >= 0:
                target.shutdown(socket.SHUT_WR)
