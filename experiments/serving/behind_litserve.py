"""transformers' pipeline behind LitServe with dynamic batches: python experiments/serving/behind_litserve.py FOLDER PORT"""

import os
import sys
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import litserve
from transformers import pipeline

BATCH, WAIT = 64, 0.005  # rows, and seconds for which a batch waits for more


class Classifier(litserve.LitAPI):
    """The pipeline; LitServe starts a process for it."""

    folder: str

    def setup(self, device: str) -> None:
        self.classify = pipeline("text-classification", model=self.folder, trust_remote_code=True)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        return self.classify(texts, batch_size=len(texts), truncation=True)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Classifier(max_batch_size=BATCH, batch_timeout=WAIT)
    api.folder = sys.argv[1]
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
