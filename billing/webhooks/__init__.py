"""Telling programs: alerts are posted to the endpoints of an organization, signed by Standard Webhooks.

`outbox` keeps what is to be delivered, written in the transaction of what it tells; `sender` delivers it, at least
once; `wire` posts, to no address that `addresses` refuses; `endpoints` is what people do with their endpoints.
"""
