"""What is kept in the database."""

from django.conf import settings
from django.db import models


class Post(models.Model):
    """A notice. `token` is its form's own: whoever sends it again writes nothing twice."""

    token = models.CharField(max_length=64, unique=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    text = models.TextField(max_length=1000)
    written_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.id}: {self.text[:40]}"
