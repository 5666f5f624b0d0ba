"""A real browser without a window: Debian's chromium, spoken to over its debugging pipe.

Messages are JSON objects, each ended by a NUL, on the descriptors 3 (to it) and 4 (from it).
Source: Chrome DevTools Protocol.
"""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
import unittest

import lab


def require_browser():
    if not shutil.which("chromium"):
        raise unittest.SkipTest("chromium is not installed")


class Page:
    """One page in a browser of its own. `complaints`: what the page's scripts threw or logged as an error."""

    def __init__(self, url, width=1200, height=1500, dark=False, vision="none"):
        self.complaints = []
        self.profile = tempfile.mkdtemp(prefix="browser-", dir=lab.TMP)
        self.said = os.path.join(self.profile, "said")
        theirs_in, self.to = os.pipe()
        self.of, theirs_out = os.pipe()
        argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "about:blank"]
        # The shell moves the descriptors to where the browser expects them (dash cannot: it knows none above 9).
        with open(self.said, "wb") as said:
            self.process = lab.start_process(["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *argv],
                                             pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=said)
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer = b""
        self.n_calls = 0
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Emulation.setEmulatedVisionDeficiency", type=vision)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=url)

    def _receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.of, 1 << 16)
            if not more:
                with open(self.said, encoding="utf-8", errors="replace") as said:
                    raise AssertionError(f"the browser is gone, with status {self.process.wait(lab.DEADLINE_S)}: "
                                         f"{said.read()[-2000:]}")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.n_calls += 1
        request = {"id": self.n_calls, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        watchdog = threading.Timer(lab.DEADLINE_S, self.process.kill)  # ends the read below
        watchdog.start()
        try:
            while True:
                message = self._receive()
                if message.get("id") == self.n_calls:
                    break
                self._note(message)
        finally:
            watchdog.cancel()
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        return message["result"]

    def _note(self, event):
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])

    def value(self, expression):
        """What a JavaScript expression is in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def press(self, key):
        text = {"Enter": {"text": "\r"}}.get(key, {})
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key], **text)

    def tap(self, selector):
        """A finger on the middle of an element."""
        where = self.value(f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
                           f" return [r.x + r.width / 2, r.y + r.height / 2]; }})(document.querySelector('{selector}'))")
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": where[0], "y": where[1]}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def picture(self, path, whole=False):
        """whole: all of the page, not only what the window shows."""
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]))

    def close(self):
        lab.stop_process(self.process)
        os.close(self.to)
        os.close(self.of)
