#include "farfield/services/compute/worker/bench.hpp"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace farfield::services::compute {

struct Bench::Seat {
  Seat(std::optional<Reach> r, ConfinedBy by) : reach(std::move(r)), thread([this, by] { serve(by); }) {}
  ~Seat() {
    {
      const std::lock_guard lock(mutex);
      closing = true;
    }
    wake.notify_all();
    thread.join();
  }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;

  void serve(ConfinedBy by) {
    std::exception_ptr unconfined;
    try {
      if (reach) confine_this_thread(*reach, by);
    } catch (...) {
      unconfined = std::current_exception();
    }
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return closing || work != nullptr; });
      if (work == nullptr) return;
      const std::function<void()>* now = work;
      lock.unlock();
      std::exception_ptr thrown = unconfined;
      if (!unconfined) try {
          (*now)();
        } catch (...) {
          thrown = std::current_exception();
        }
      lock.lock();
      problem = thrown;
      work = nullptr;
      wake.notify_all();
    }
  }

  std::optional<Reach> reach;
  std::mutex mutex;
  std::condition_variable wake;
  const std::function<void()>* work = nullptr;
  std::exception_ptr problem;
  bool closing = false;
  std::thread thread;
};

Bench::Bench(ConfinedBy by) : by_(by) {}
Bench::~Bench() = default;

void Bench::run(const std::optional<Reach>& reach, const std::function<void()>& work) {
  if (!seat_ || seat_->reach != reach) {
    seat_.reset();
    seat_ = std::make_unique<Seat>(reach, by_);
  }
  std::unique_lock lock(seat_->mutex);
  seat_->work = &work;
  seat_->wake.notify_all();
  seat_->wake.wait(lock, [&] { return seat_->work == nullptr; });
  const std::exception_ptr problem = std::exchange(seat_->problem, nullptr);
  lock.unlock();
  if (problem) std::rethrow_exception(problem);
}

}  // namespace farfield::services::compute
