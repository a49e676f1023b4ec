"""What becomes of requests: customers, series, limits, faults, clock and book of one sandbox together.

No HTTP and no waiting. `issue` is one step: whoever asks meanwhile sees the coupon in the book or not at all.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import datetime

from bulk_issue.sandbox.access import Access
from bulk_issue.sandbox.book import Book, Endpoint, IssuedCoupon
from bulk_issue.sandbox.customers import OLDER, Customer, Customers
from bulk_issue.sandbox.faults import Faults
from bulk_issue.sandbox.orders import Order, Question
from bulk_issue.sandbox.refusals import BUSY, Refusal, refusal
from bulk_issue.sandbox.series import CouponSeries, judge, next_code
from bulk_issue.sandbox.settings import Settings
from bulk_issue.sandbox.times import INDIA, ServerClock
from bulk_issue.sandbox.window import Window

#: Coupon ids look like those of the official samples.
FIRST_NUMBER = 1_312_000_001


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """What an order brought."""

    coupon: IssuedCoupon
    customer: Customer
    series: CouponSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a customer's coupons as reads may show them now."""

    customer: Customer
    coupons: list[IssuedCoupon]
    total: int


class World:
    """One sandbox without its HTTP."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = ServerClock(settings.clock_offset)
        self.book = Book(settings.book)
        self.customers = Customers(settings.customers, anybody=settings.anybody, patterns=settings.patterns)
        self.series = {each.id: each for each in settings.series}
        self.faults = Faults(settings.plans, seed=settings.seed)
        self.access = Access(settings, self.clock)
        self._busy: Counter[int] = Counter()
        self._dice = random.Random()
        self._windows: defaultdict[str, Window] = defaultdict(lambda: Window(settings.rate, settings.per))
        for arrival in self.book.arrivals:  # a restarted server remembers its limit
            if arrival.endpoint is Endpoint.ISSUE and not arrival.limited:
                self._windows[arrival.account].admit(arrival.at)

    def admit(self, account: str, at: float) -> float:
        """Take one of the account's issue requests into its window: 0, or the seconds until one more fits."""
        return self._windows[account].admit(at)

    def customer(self, named: str) -> Customer | None:
        """Whom the name means, registered on the fly where the settings say so; None if nobody."""
        customer = self.customers.find(named)
        if customer is not None and customer.older:
            held = {coupon.series for coupon in self.book.coupons_for(customer.id)}
            for series in self.series.keys() - held:
                self.give(customer, series, created=self.clock.now() - OLDER)
        return customer

    def issue(self, order: Order, *, request: str, store: str = "", hidden: float = 0.0) -> Issue | Refusal:
        """Carry out an order; reads show a new coupon `hidden` seconds (or the settings' lag) later."""
        series = self.series.get(order.series)
        if series is None:
            return refusal(707)
        customer = self.customer(order.named)
        if customer is None:
            return refusal(701)
        if self._busy[customer.id] < customer.busy:
            self._busy[customer.id] += 1
            return BUSY
        if customer.refusal:
            return refusal(customer.refusal)
        held = [coupon for coupon in self.book.coupons_for(customer.id) if coupon.series == series.id]
        now = self.clock.now()
        match judge(series, held, issued=self.book.count(series.id), now=now):
            case Refusal() as refused:
                return refused
            case IssuedCoupon() as again:
                coupon = again
            case None:
                coupon = IssuedCoupon(
                    number=FIRST_NUMBER + self.book.coupons,
                    code=next_code(series, self.book.count(series.id), self._dice),
                    series=series.id,
                    customer=customer.id,
                    created=now,
                    visible=now + max(hidden, self.settings.lag),
                    request=request,
                    named=order.named,
                    store=store or self.settings.store,
                )
                self.book.add(coupon)
        return Issue(coupon=coupon, customer=customer, series=series)

    def give(self, customer: Customer, series: int, *, created: float, redeemed: int = 0) -> IssuedCoupon:
        """Let the customer have had a coupon since `created` (server seconds), without any request."""
        coupon = IssuedCoupon(
            number=FIRST_NUMBER + self.book.coupons,
            code=next_code(self.series[series], self.book.count(series), self._dice),
            series=series,
            customer=customer.id,
            created=created,
            visible=created,
            request="",
            named="",
            store=self.settings.store,
            redeemed=redeemed,
        )
        self.book.add(coupon)
        return coupon

    def coupons(self, question: Question) -> Page | Refusal:
        """What the record shows now."""
        customer = self.customer(question.named)
        if customer is None:
            return refusal(8015)
        now = self.clock.now()
        shown = [each for each in self.book.coupons_for(customer.id) if each.visible <= now and _asked(each, question)]
        # Not documented what the order goes by: here by time, newest first unless asked otherwise.
        shown.sort(key=lambda each: (each.created, each.number), reverse=not question.ascending)
        page = shown[question.offset : question.offset + question.limit]
        return Page(
            customer=customer,
            coupons=[replace(each, code=_cased(each.code, question)) for each in page],
            total=len(shown),
        )


def _asked(coupon: IssuedCoupon, question: Question) -> bool:
    # Inferred: the days of start (on or after) and end (before) are days in the server's zone.
    day = datetime.fromtimestamp(coupon.created, INDIA).date()
    return (
        (question.series is None or coupon.series == question.series)
        and (question.start is None or day >= question.start)
        and (question.end is None or day < question.end)
    )


def _cased(code: str, question: Question) -> str:
    match question.case:
        case "UPPER":
            return code.upper()
        case "LOWER":
            return code.lower()
        case _:
            return code
