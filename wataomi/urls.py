"""Where everything is: the pages, the admin, the API under /api/v1, and the health check."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from wataomi.errors import api_not_found
from wataomi.health import healthz

api_patterns: list[URLPattern | URLResolver] = [
    path("token", TokenObtainPairView.as_view(), name="token"),
    path("token/refresh", TokenRefreshView.as_view(), name="token-refresh"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("", include("flows.api_urls")),
    path("", include("executions.api_urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("api/v1/", include(api_patterns)),
    re_path(r"^api(?:/.*)?$", api_not_found),
    path("", include("flows.urls")),
    path("", include("executions.urls")),
    path("", include("executions.status.urls")),
]

handler400 = "wataomi.errors.bad_request"
handler403 = "wataomi.errors.permission_denied"
handler404 = "wataomi.errors.page_not_found"
handler500 = "wataomi.errors.server_error"
