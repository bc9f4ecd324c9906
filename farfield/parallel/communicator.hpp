#pragma once
// Message passing behind one narrow interface: alone, or MPI. Nothing else in the tree calls MPI_*.

#include <complex>
#include <cstddef>
#include <memory>
#include <span>

namespace farfield::parallel {

enum class Reduce { sum, min, max };

class Communicator {
public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// In place; every rank ends with the same bits.
  virtual void all_reduce(std::span<float> values, Reduce op) = 0;
  virtual void all_reduce(std::span<double> values, Reduce op) = 0;
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Exchanges messages with several peers at once: sends[i] goes to peers[i], receives[i] comes from
  /// peers[i] (sizes agreed beforehand). No deadlock whatever the order on the two sides.
  struct Message {
    int peer;
    std::span<const std::byte> send;
    std::span<std::byte> receive;
  };
  virtual void exchange(std::span<const Message> messages) = 0;
  virtual void barrier() = 0;

  /// Bytes this rank has sent to others so far (payload; an all-reduce counts its buffer once).
  virtual std::size_t bytes_sent() const = 0;

  /// Ends all ranks with this exit code: for an error on one that the others would wait for in vain. A program
  /// that ran with size() > 1 calls it instead of exiting with an error. Does nothing when alone; throws
  /// `cancelled` between threads.
  virtual void abort(int /*exit_code*/) {}
};

/// A communicator of one.
std::unique_ptr<Communicator> make_alone();

/// MPI_COMM_WORLD; initialises MPI (funnelled) on first use and finalises at exit. Throws `unsupported`
/// when the program was built without MPI (FARFIELD_WITH_MPI=OFF).
std::unique_ptr<Communicator> make_mpi();
bool built_with_mpi();

}  // namespace farfield::parallel
