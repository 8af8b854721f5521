from django.db import migrations, models

import flows.models


class Migration(migrations.Migration):
    dependencies = [
        ("flows", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="flow",
            name="name",
            field=models.CharField(max_length=200, validators=[flows.models.check_printable]),
        ),
    ]
