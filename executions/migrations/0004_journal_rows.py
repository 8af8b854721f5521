"""What the journal writes is checked by the journal; and pages of runs have room for the next versions of their rows."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def leave_room(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """PostgreSQL writes a new version of a run's row at each commit: beside the old one, it needs no index to follow."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE executions_execution SET (fillfactor = 50)")


def leave_none(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE executions_execution RESET (fillfactor)")


class Migration(migrations.Migration):
    dependencies = [("executions", "0003_runs_by_their_end")]

    operations = [
        migrations.AlterField(
            model_name="executionevent",
            name="execution",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=models.deletion.CASCADE,
                related_name="events",
                to="executions.execution",
            ),
        ),
        migrations.AlterField(
            model_name="nodeexecution",
            name="execution",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=models.deletion.CASCADE,
                related_name="node_executions",
                to="executions.execution",
            ),
        ),
        migrations.RunPython(leave_room, leave_none),
    ]
