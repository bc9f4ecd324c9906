#pragma once
// A communicator between threads of one program: for tests of whatever runs on several processes.

#include <functional>

#include "farfield/parallel/communicator.hpp"

namespace farfield::parallel {

/// Runs work(communicator) on `size` threads that are each other's ranks, and waits. When one throws, the others' next
/// communication throws `cancelled`, and the first exception is rethrown here. Throws `invalid_argument` unless size
/// >= 1.
void run_as_ranks(int size, const std::function<void(Communicator&)>& work);

}  // namespace farfield::parallel
