from django.apps import AppConfig


class WataOmiConfig(AppConfig):
    name = "wataomi"

    def ready(self) -> None:
        from wataomi import checks  # noqa: F401 -- importing registers them
