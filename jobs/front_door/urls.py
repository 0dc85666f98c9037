"""The routes below `/v1`, as the provider has them."""

from django.urls import path

from jobs.front_door.batches import BatchCancellationView, BatchesView, BatchPreviewView, BatchView
from jobs.front_door.chat import ChatCompletionsView
from jobs.front_door.files import FileContentView, FilesView, FileView
from jobs.front_door.models import ModelsView, ModelView
from jobs.front_door.responses.views import ResponseCancellationView, ResponsesView, ResponseView

urlpatterns = [
    path("chat/completions", ChatCompletionsView.as_view(), name="openai-chat-completions"),
    path("responses", ResponsesView.as_view(), name="openai-responses"),
    path("responses/<str:response_id>", ResponseView.as_view(), name="openai-response"),
    path("responses/<str:response_id>/cancel", ResponseCancellationView.as_view(), name="openai-response-cancellation"),
    path("batches", BatchesView.as_view(), name="openai-batches"),
    path("batches/preview", BatchPreviewView.as_view(), name="openai-batch-preview"),
    path("batches/<str:batch_id>", BatchView.as_view(), name="openai-batch"),
    path("batches/<str:batch_id>/cancel", BatchCancellationView.as_view(), name="openai-batch-cancellation"),
    path("files", FilesView.as_view(), name="openai-files"),
    path("files/<str:file_id>", FileView.as_view(), name="openai-file"),
    path("files/<str:file_id>/content", FileContentView.as_view(), name="openai-file-content"),
    path("models", ModelsView.as_view(), name="openai-models"),
    path("models/<path:name>", ModelView.as_view(), name="openai-model"),
]
