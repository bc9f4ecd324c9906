#include "farfield/core/error.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/parallel/mailbox.hpp"

#ifdef FARFIELD_WITH_MPI

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <list>
#include <thread>
#include <vector>

namespace farfield::parallel {
namespace {

// Counts in MPI 3 are int: longer buffers travel in pieces of this many elements.
constexpr std::size_t kPiece = std::size_t{1} << 28;
constexpr int kMailTag = 1;  // what exchange() sends has tag 0

// An MPI call that fails ends the program (MPI_ERRORS_ARE_FATAL, the default): ranks cannot go on apart.
class Mpi final : public Communicator, public Mailbox {
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

  void send(int to, std::vector<std::byte> bytes) override {
    if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      throw core::Error(core::ErrorCode::resource_exhausted, "a message of more than 2^31 - 1 bytes");
    forget_sent();
    auto& letter = outgoing_.emplace_back();
    letter.bytes = std::move(bytes);
    if (to != rank_) sent_ += letter.bytes.size();
    MPI_Isend(letter.bytes.data(), static_cast<int>(letter.bytes.size()), MPI_BYTE, to, kMailTag, MPI_COMM_WORLD,
              &letter.request);
  }
  std::optional<Mail> receive(double limit_s) override {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
    // MPI has no wait with a limit: asked at once, then ever less often, so that an idle rank leaves its core to
    // others.
    for (auto pause = std::chrono::microseconds(1);; pause = std::min(2 * pause, std::chrono::microseconds(1000))) {
      int arrived = 0;
      MPI_Status status;
      MPI_Iprobe(MPI_ANY_SOURCE, kMailTag, MPI_COMM_WORLD, &arrived, &status);
      if (arrived != 0) {
        int count = 0;
        MPI_Get_count(&status, MPI_BYTE, &count);
        Mail mail{status.MPI_SOURCE, std::vector<std::byte>(static_cast<std::size_t>(count))};
        MPI_Recv(mail.bytes.data(), count, MPI_BYTE, mail.from, kMailTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        return mail;
      }
      forget_sent();
      if (std::chrono::steady_clock::now() >= until) return std::nullopt;
      std::this_thread::sleep_for(pause);
    }
  }
  void flush() override {
    for (auto& letter : outgoing_) MPI_Wait(&letter.request, MPI_STATUS_IGNORE);
    outgoing_.clear();
  }

private:
  struct Outgoing {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  void forget_sent() {
    outgoing_.remove_if([](Outgoing& letter) {
      int done = 0;
      MPI_Test(&letter.request, &done, MPI_STATUS_IGNORE);
      return done != 0;
    });
  }
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
  std::list<Outgoing> outgoing_;
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
