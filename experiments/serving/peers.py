"""What `ftlit serve` is compared with, in a process of its own: python experiments/serving/peers.py KIND FOLDER ...

`bare` times the tokenizer and the model on one text after another, without a server. `pipeline` is transformers' pipeline
behind plain FastAPI; `behind_litserve.py` has it behind LitServe.
"""

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline


def bare(folder: str, seconds: float, texts: list[str]) -> list[float]:
    """Milliseconds that each text takes."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    found, end, i = list[float](), time.perf_counter() + seconds, 0
    with torch.inference_mode():
        while (began := time.perf_counter()) < end:
            inputs = tokenizer(texts[i % len(texts)], return_tensors="pt", truncation=True, max_length=512)
            model(**inputs).logits.softmax(-1).tolist()
            found.append(1000 * (time.perf_counter() - began))
            i += 1
    return found[len(found) // 10 :]  # the first ones warm up


def behind_fastapi(folder: str, port: int) -> None:
    """Serve the pipeline with FastAPI."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Row(BaseModel):
        text: str

    app, classify = FastAPI(), pipeline("text-classification", model=folder, trust_remote_code=True)

    async def predict(row: Row) -> Any:  # a plain function would run in up to 40 threads, which is slower
        return classify(row.text, truncation=True)[0]

    app.post("/predict")(predict)
    uvicorn.run(app, port=port, log_level="error")


if __name__ == "__main__":
    kind, folder, number = sys.argv[1:4]
    if kind == "bare":
        print(json.dumps(bare(folder, float(number), json.load(sys.stdin))))
    else:
        behind_fastapi(folder, int(number))
