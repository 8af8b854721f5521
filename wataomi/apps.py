from django.apps import AppConfig


class WataOmiConfig(AppConfig):
    name = "wataomi"
