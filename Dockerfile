# A model behind a port (docs/serving.md):
#   docker build -t ldm-serve .
#   docker run -p 8000:8000 -e LDM_SERVE_TOKEN=secret ldm-serve
#   docker run -p 8000:8000 -e LDM_SERVE_TOKEN=secret -v $PWD/outputs/my-ldm:/model:ro ldm-serve
# It has never been built: there was no Docker where it was written. The versions are those that the tests ran with.
FROM python:3.11-slim
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir transformers==5.24.0 accelerate==1.15.0 datasets==5.2.0 huggingface-hub==2.4.0 \
    gymnasium==1.4.0 numpy==2.4.6 pyarrow==26.0.1 safetensors==0.8.0 \
    aiohttp==3.14.5 msgpack==1.2.4 websockets==17.4 prometheus-client==0.26.0
COPY setup.py pyproject.toml README.md /source/
COPY ldm_hf /source/ldm_hf
RUN pip install --no-cache-dir "/source[serve]"
COPY model_cards/ldm-nano /model
RUN useradd --create-home ldm
USER ldm
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/healthz')"]
ENTRYPOINT ["ldm", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "/model"]
