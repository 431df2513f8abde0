"""A package mirror on this machine: packages built by dpkg-deb, served over HTTP, asked by the real apt."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Mirror:
    """What the mirror offers, what it does wrong on purpose, and what it was asked for."""

    directory: Path
    apt_config: Path
    requests: list[str] = field(default_factory=list)
    stanzas: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Packages that are listed, but not to be had."""
    damaged: set[str] = field(default_factory=set)
    """Packages whose content is not what the list says."""
    slow: set[str] = field(default_factory=set)
    """Packages of which half arrives, and then nothing for a long time."""
    stop: threading.Event = field(default_factory=threading.Event)

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        depends: str = "",
        links: Mapping[str, str] | None = None,
        version: str = "1:2.0",
    ) -> None:
        """Offer a package; a Path among ``files`` is copied."""
        root = self.directory / "build" / name
        (root / "DEBIAN").mkdir(parents=True)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Nobody <n@example.org>\n"
        control += f"Depends: {depends}\n" if depends else ""
        control += "Description: made for a test\n of the real apt\n"
        (root / "DEBIAN/control").write_text(control)
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        for path, to in (links or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(to)
        package = self.directory / "pool" / f"{name}_2.0_amd64.deb"
        package.parent.mkdir(exist_ok=True)
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(root), str(package)]
        subprocess.run(command, check=True, capture_output=True)
        data = package.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self.stanzas[name] = f"{control}Filename: pool/{package.name}\nSize: {len(data)}\nSHA256: {digest}\n"

    def update(self) -> None:
        """Let apt read what is offered now."""
        (self.directory / "Packages").write_text("\n".join(self.stanzas.values()))
        subprocess.run(["apt-get", "update"], env=self.environment(), check=True, capture_output=True)

    def environment(self) -> dict[str, str]:
        return {"APT_CONFIG": str(self.apt_config), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}


class _Handler(http.server.BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        path = self.path.lstrip("/").removeprefix("./")
        self.mirror.requests.append(path)
        file = self.mirror.directory / path
        name = file.name.split("_")[0]
        if name in self.mirror.refused or not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        if name in self.mirror.damaged:
            data = bytes(len(data))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if name in self.mirror.slow:
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.mirror.stop.wait(60)
            else:
                self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


@contextlib.contextmanager
def serve_mirror(directory: Path) -> Iterator[Mirror]:
    """An empty mirror, and an apt configuration that knows nothing but it."""
    for name in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()
    mirror = Mirror(directory, directory / "apt.conf")
    handler = type("Handler", (_Handler,), {"mirror": mirror})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        (directory / "etc/sources.list").write_text(f"deb [trusted=yes] http://127.0.0.1:{server.server_port} ./\n")
        mirror.apt_config.write_text(
            f'Dir::Etc "{directory}/etc";\nDir::State::lists "{directory}/lists";\n'
            f'Dir::State::status "{directory}/status";\nDir::Cache "{directory}/cache";\n'
            'APT::Architecture "amd64";\nAcquire::Languages "none";\nAcquire::http::Proxy "DIRECT";\n'
            'Acquire::Retries "0";\nAPT::Sandbox::User "root";\n'
        )
        try:
            yield mirror
        finally:
            mirror.stop.set()
            server.shutdown()
            thread.join()
