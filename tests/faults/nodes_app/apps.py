from django.apps import AppConfig


class FaultsConfig(AppConfig):
    name = "tests.faults.nodes_app"
    label = "faults"
