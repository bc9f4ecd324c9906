#include "farfield/core/error.hpp"
#include "farfield/parallel/communicator.hpp"

#ifdef FARFIELD_WITH_MPI

#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace farfield::parallel {
namespace {

// Counts in MPI 3 are int: longer buffers travel in pieces of this many elements.
constexpr std::size_t kPiece = std::size_t{1} << 28;

// An MPI call that fails ends the program (MPI_ERRORS_ARE_FATAL, the default): ranks cannot go on apart.
class Mpi final : public Communicator {
public:
  Mpi() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(std::span<float> values, Reduce op) override { reduce(values, MPI_FLOAT, op); }
  void all_reduce(std::span<double> values, Reduce op) override { reduce(values, MPI_DOUBLE, op); }

  void broadcast(std::span<std::byte> bytes, int root) override {
    pieces(bytes, [&](std::span<std::byte> piece) {
      MPI_Bcast(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, root, MPI_COMM_WORLD);
    });
    if (rank_ == root) sent_ += bytes.size() * static_cast<std::size_t>(size_ - 1);
  }

  void exchange(std::span<const Message> messages) override {
    std::vector<MPI_Request> requests;
    for (const auto& m : messages) {
      // Messages between two ranks do not overtake each other, so the pieces need no tags of their own.
      pieces(m.receive, [&](std::span<std::byte> piece) {
        MPI_Irecv(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, m.peer, 0, MPI_COMM_WORLD,
                  &requests.emplace_back());
      });
    }
    for (const auto& m : messages) {
      pieces(m.send, [&](std::span<const std::byte> piece) {
        MPI_Isend(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, m.peer, 0, MPI_COMM_WORLD,
                  &requests.emplace_back());
      });
      if (m.peer != rank_) sent_ += m.send.size();
    }
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  }

  void barrier() override { MPI_Barrier(MPI_COMM_WORLD); }
  std::size_t bytes_sent() const override { return sent_; }
  void abort(int exit_code) override {
    if (size_ > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
  }

private:
  template <class T, class F>
  static void pieces(std::span<T> whole, F&& f) {
    for (std::size_t at = 0; at < whole.size(); at += kPiece) f(whole.subspan(at, std::min(kPiece, whole.size() - at)));
  }
  template <class T>
  void reduce(std::span<T> values, MPI_Datatype type, Reduce op) {
    const MPI_Op mpi_op = op == Reduce::sum ? MPI_SUM : op == Reduce::min ? MPI_MIN : MPI_MAX;
    pieces(values, [&](std::span<T> piece) {
      MPI_Allreduce(MPI_IN_PLACE, piece.data(), static_cast<int>(piece.size()), type, mpi_op, MPI_COMM_WORLD);
    });
    if (size_ > 1) sent_ += values.size_bytes();
  }

  int rank_ = 0, size_ = 1;
  std::size_t sent_ = 0;
};

void finalise() {
  int done = 0;
  MPI_Finalized(&done);
  if (done == 0) MPI_Finalize();
}

}  // namespace

std::unique_ptr<Communicator> make_mpi() {
  int initialised = 0;
  MPI_Initialized(&initialised);
  if (initialised == 0) {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    if (provided < MPI_THREAD_FUNNELED)
      throw core::Error(core::ErrorCode::unsupported, "this MPI library cannot be used in a program with threads");
    std::atexit(finalise);
  }
  return std::make_unique<Mpi>();
}

bool built_with_mpi() { return true; }

}  // namespace farfield::parallel

#else

namespace farfield::parallel {

std::unique_ptr<Communicator> make_mpi() {
  throw core::Error(core::ErrorCode::unsupported,
                    "this program was built without MPI; configure with -DFARFIELD_WITH_MPI=ON");
}

bool built_with_mpi() { return false; }

}  // namespace farfield::parallel

#endif
