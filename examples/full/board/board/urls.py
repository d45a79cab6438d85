"""Where what is."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from posts import health, views

urlpatterns = [
    path("", views.index, name="index"),
    path("posts", views.write, name="write"),
    path("sign-in", LoginView.as_view(template_name="sign-in.html", redirect_authenticated_user=True), name="sign-in"),
    path("sign-out", LogoutView.as_view(), name="sign-out"),
    path("join", views.join, name="join"),
    path("health", health.health),
    path("ready", health.ready),
]
handler500 = "posts.pages.failed"
