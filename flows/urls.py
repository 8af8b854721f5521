"""The addresses of the pages of flows, and of logging in and out."""

from django.urls import path

from flows import views

urlpatterns = [
    path("", views.flow_list, name="flow-list"),
    path("flows/<int:flow_id>/edit", views.flow_edit, name="flow-edit"),
    path("login", views.Login.as_view(), name="login"),
    path("logout", views.Logout.as_view(), name="logout"),
]
