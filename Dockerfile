# A server on the CPU; on a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple. docs/server.md says how it is run.
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY onethinker onethinker
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt '.[heic,serve]' \
    && useradd --create-home onethinker
USER onethinker
EXPOSE 8080
HEALTHCHECK --start-period=10m CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health')"]
ENTRYPOINT ["onethinker", "serve"]
CMD ["--help"]
