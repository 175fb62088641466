"""One Ray for all tests that need one: starting it takes seconds."""

from collections.abc import Iterator

import pytest
import ray

from geoseg.cluster.dispatch import Rules
from geoseg.cluster.runner import RayRunner


@pytest.fixture(scope="session")
def own_ray() -> Iterator[None]:
    """A Ray of this process's own, with room for more than one runner."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=80 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_runner(own_ray: None) -> Iterator[RayRunner]:
    """Two workers, for all tests that need some; what fails is tried again at once."""
    with RayRunner(2, 1, gpu=False, rules=Rules(backoff_s=(0.0,))) as runner:
        yield runner
