"""The pages of the second step: asked after the password, and switched on and off by each person for themselves."""

from typing import Any

import django_otp
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.generic import View

from accounts import second_step
from accounts.audit import Who, who
from accounts.models import User

WRONG = "This code is not right, or was used already, or came too soon after a wrong one. Wait for the next one."


class CodeForm(forms.Form):
    code = forms.CharField(
        label="Code",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "autofocus": "", "class": "vTextField"}),
    )


def is_missing(request: HttpRequest) -> bool:
    """Whether the deployment asks the staff for a second step that this session has not passed."""
    is_asked: bool = settings.REQUIRE_TOTP_FOR_STAFF and bool(getattr(request.user, "is_staff", False))
    return is_asked and django_otp.DEVICE_ID_SESSION_KEY not in request.session


class SignIn(LoginView):
    """Whoever has a second step is signed in only after it."""

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        if not second_step.is_on(user) and not (settings.REQUIRE_TOTP_FOR_STAFF and user.is_staff):
            return super().form_valid(form)
        second_step.wait_for_code(self.request, user)
        following = {self.redirect_field_name: self.get_redirect_url() or reverse("admin:index")}
        return HttpResponseRedirect(f"{reverse('admin:second_step')}?{urlencode(following)}")


class SecondStep(RedirectURLMixin, View):
    """Asks for the code; of somebody who has to have a second step and has none, makes one."""

    site: Any = None
    next_page = "admin:index"

    def get(self, request: HttpRequest) -> HttpResponse:
        user = second_step.who_waits(request)
        if user is None:
            return redirect("admin:login")
        return self._page(user, CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        user = second_step.who_waits(request)
        if user is None:
            messages.error(request, "That took too long: enter your password again.")
            return redirect("admin:login")
        form = CodeForm(request.POST)
        if not form.is_valid():
            return self._page(user, form)
        codes: list[str] = []
        if second_step.is_on(user):
            device = second_step.accepted(user, form.cleaned_data["code"])
        else:
            by = Who(user=user, address=who(request).address)
            device, codes = second_step.switch_on(user, form.cleaned_data["code"], by=by) or (None, [])
        if device is None:
            form.add_error("code", WRONG)
            return self._page(user, form)
        second_step.stop_waiting(request)
        login(request, user)
        django_otp.login(request, device)
        if codes:
            return self._page(user, CodeForm(), codes=codes, following=self.get_success_url())
        return HttpResponseRedirect(self.get_success_url())

    def _page(self, user: User, form: CodeForm, **shown: Any) -> HttpResponse:
        if not shown and not second_step.is_on(user):
            shown = {"picture": second_step.picture(device := second_step.begin(user)), "address": device.config_url}
        context = {**self.site.each_context(self.request), "title": "Second step", "form": form, **shown}
        return TemplateResponse(self.request, "admin/accounts/second_step.html", context)


def settings_page(site: Any, request: HttpRequest) -> HttpResponse:
    """A person's own second step: on with a code of the app, off with another."""
    user = request.user
    assert isinstance(user, User)
    form, codes = CodeForm(request.POST or None), []
    if request.method == "POST" and form.is_valid():
        code = form.cleaned_data["code"]
        if not second_step.is_on(user):
            device, codes = second_step.switch_on(user, code, by=who(request)) or (None, [])
            django_otp.login(request, device)
        elif second_step.accepted(user, code):
            second_step.switch_off(user, by=who(request))
            request.session.pop(django_otp.DEVICE_ID_SESSION_KEY, None)
            messages.success(request, "Switched off: your password alone signs you in.")
            return redirect("admin:second_step_settings")
        if not codes:
            form.add_error("code", WRONG)
    is_on = second_step.is_on(user)
    shown: dict[str, Any] = {"is_on": is_on, "codes": codes, "codes_left": second_step.codes_left(user)}
    if not is_on:
        device = second_step.begin(user)
        shown = {**shown, "picture": second_step.picture(device), "address": device.config_url}
    context = {**site.each_context(request), "title": "Second step", "form": form, **shown}
    return TemplateResponse(request, "admin/accounts/second_step_settings.html", context)
