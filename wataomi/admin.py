"""What the admin calls itself."""

from django.contrib import admin

admin.site.site_header = "WataOmi"
admin.site.site_title = "WataOmi"
admin.site.index_title = "Flows and runs"
