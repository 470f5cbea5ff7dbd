"""Hostile bodies of JSON and requests of HTTP, for the tests that send them to a server."""

from __future__ import annotations

MEGABYTE = 2**20
JSON = "Host: localhost\r\nContent-Type: application/json\r\n"

# JSON as text: json.dumps would refuse or tidy much of it.
VALUES = [
    *("null", "true", "false", '""', '" "', "[]", "{}", "[[]]", "[{}]", '{"a": 1}', "[null]", "[true]", '[""]'),
    *(
        "0",
        "-1",
        "-0",
        "0.5",
        "1e-400",
        "1e400",
        "-1e400",
        "1e308",
        "NaN",
        "Infinity",
        "-Infinity",
        "[NaN]",
        "[[1e39]]",
    ),
    *(str(2**31), str(2**32), str(2**63), str(2**64), "9" * 4000, "-" + "9" * 4000, "9" * 10_000, f"[{'9' * 4000}]"),
    *("[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500, "[" * 100_000 + "]" * 100_000, "[" * 100_000),
    *('"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"', '["\\ud800"]', '"\U0001f9e5"', '"‮"', '"' + "x" * MEGABYTE + '"'),
    *('"../../etc/passwd"', '"/etc/passwd"', '"%00"', '"\'; DROP TABLE models; --"', '"{{7*7}}"', '"${jndi:ldap://x}"'),
    *(
        '"0-4294967295"',
        '"4294967295"',
        '"0-"',
        '"-"',
        '","',
        '"1,,2"',
        '"' + "0," * 100_000 + '0"',
        '"' + "9" * 5000 + '"',
    ),
    *("[" + "0," * 200_000 + "0]", "[[" + "0.1," * 50_000 + "0.1]]", '["' + '","'.join("ab" * 1000) + '"]'),
]
FIELDS = {
    "/sample": ["model", "n", "seed", "seeds", "latents", "label", "truncation", "format", "columns"],
    "/condition": ["model", "n", "seed", "seeds", "latents", "labels", "truncation", "format", "columns"],
    "/mix": ["model", "coarse", "fine", "crossover", "label", "truncation", "format", "columns"],
    "/interpolate": [
        *("model", "seeds", "steps", "method", "loop", "label", "truncation", "format", "columns"),
        *("fps", "start", "stop"),
    ],
}

LARGE = 4 * MEGABYTE - 100  # what the server just reads
ITEMS = {  # of which there are as many as fit
    "seeds of 0": ('"seeds": [', "0,", "0]"),
    "seeds of text": ('"seeds": [', '"",', "0]"),
    "seeds of lists": ('"seeds": [', "[],", "0]"),
    "seeds as text": ('"seeds": "', "0,", '0"'),
    "ranges of seeds": ('"seeds": "', "0-99999,", '0"'),
    "latents of 0": ('"latents": [', "0,", "0]"),
    "latents of nothing": ('"latents": [', "[],", "[]]"),
    "latents of text": ('"latents": [[', '"",', "0]]"),
    "one long latent": ('"latents": [[', "0.1,", "0.1]]"),
    "labels of 0": ('"label": [', "0,", "0]"),
    "labels of objects": ('"label": [', "{},", "0]"),
    "digits": ('"truncation": 2.', "1", "1"),
    "exponent": ('"truncation": 1e', "1", "1"),
    "brackets": ('"n": ', "[", ""),
}

GET = "GET /livez HTTP/1.1\r\nHost: localhost\r\n"
BROKEN = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "negative length": f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: -5\r\n\r\nhello".encode(),
    "no number": f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: five\r\n\r\nhello".encode(),
    "length beyond 64 bits": f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: {10**30}\r\n\r\nhello".encode(),
    "length beyond 63 bits": f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: {2**63}\r\n\r\nhello".encode(),
    "two lengths": f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!".encode(),
    "smuggled": b"POST /sample HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk of no size": f"POST /sample HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    "endless chunk": f"POST /sample HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{'F' * 17}\r\nx".encode(),
    "zero in a header": f"{GET}X: a\0b\r\n\r\n".encode(),
    "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "long path": f"GET /{'a' * 200_000} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "no ASCII path": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "escaped path": b"GET /%ff%00%zz/../..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "model of a path": b"GET /models/..%2f..%2fetc HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "model of a surrogate": b"GET /models/%ed%a0%80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "model of zero": b"GET /models/%00/samples.png HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long model": f"GET /models/{'x' * 60_000} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "web of a path": b"GET /web/..%2f__init__.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "web of zero": b"GET /web/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "type of noise": b"POST /sample HTTP/1.1\r\nContent-Type: \xff/\xfe;;=\r\nContent-Length: 2\r\n\r\n{}",
    "a megabyte of one header": f"{GET}X: {'a' * MEGABYTE}\r\n\r\n".encode(),
    "a megabyte of headers": GET.encode() + b"X: a\r\n" * 200_000 + b"\r\n",
}

STRANGE = {
    "noise as key": f"{GET}Authorization: \xff\xfe\r\nConnection: close\r\n\r\n",
    "noise as id": f"{GET}X-Request-Id: \xff\r\nConnection: close\r\n\r\n",
    "unknown upgrade": f"{GET}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n\r\n",
    "noise as etag": GET.replace("/livez", "/models/fashion-dcgan/samples.png") + 'If-None-Match: \xff"*,,\r\n\r\n',
    "proxied": "GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
