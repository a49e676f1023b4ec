"""The sandbox: a stand-in for Capillary's coupon API, for the demo, the tests and a new operator's first hour.

It speaks every endpoint that the client uses as Capillary documents it, keeps to a strict rate limit, has customers and
coupon series with scripted behaviour, breaks on request, and keeps its own book of what it really issued. Nothing in
the client knows that it talks to a sandbox, and nothing here uses the client's code: the book judges its promises.

    async with Sandbox(Settings(faults=0.25)) as box:
        ...  # requests to box.url, as box.user with box.password, or box.client_key with box.client_secret
    assert not box.book.duplicates(box.series_id)

The built-in credentials (`demo` / `demo-password`, `demo-key` / `demo-secret`) are not secrets: they open nothing but
this program, which listens on loopback addresses only.

Where Capillary documents nothing (the body of a 401 or 403, what a look-up of an unknown customer says), the sandbox
does what `inferred` comments say; a real org may differ.

| module | owns |
|---|---|
| `settings` | every option, with its default |
| `book` | what really happened: arrivals, coupons, injected faults |
| `customers`, `series` | who is known, what a series does with a repeated issue |
| `faults` | what goes wrong, and for whom |
| `times`, `window`, `access` | the server's clock, the rate limit, credentials and tokens |
| `world` | all of these together: what becomes of a request |
| `orders`, `answers`, `refusals` | bodies in, bodies out, errors in Capillary's words |
| `service`, `wire`, `waits`, `server` | HTTP: endpoints, answers and how they break, waiting, start and end |
"""
