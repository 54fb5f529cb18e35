# An image with this commit and the environment of its lock: `docker build -t tunelock .`, for NVIDIA GPUs with
# `--build-arg LOCK=cuda`. A test holds that it runs the Makefile's targets and nothing else.
#
# The base is named by the digest of its index of platforms. This one, and not its slim form, for it has git and make: no
# package comes from Debian's servers, whose versions move. To check the digest, or to find that of a newer one:
# `docker buildx imagetools inspect python:3.11.15-bookworm`, or https://hub.docker.com/_/python/tags?name=3.11.15-bookworm
FROM python:3.11.15-bookworm@sha256:a8f8fbe1a0edc9e4dddafa64ba73f7e04be7be5ebc23f332362e779e0a2e4e52

ARG LOCK=cpu
WORKDIR /tunelock
ENV PATH=/tunelock/.venv/bin:$PATH

# What the environment is made from comes first: another commit with the same lock takes it from Docker's cache.
COPY Makefile pyproject.toml ./
COPY locks locks
COPY tunelock/__init__.py tunelock/launcher.sh tunelock/
COPY tunelock/remote/__init__.py tunelock/remote/
COPY tunelock/remote/there tunelock/remote/there
RUN make .venv/done LOCK="$LOCK"

COPY . .
CMD ["make", "repro"]
