#pragma once
// Of this room only: a coroutine has work that blocks done on another thread.

#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>

namespace farfield::net {

/// Runs `work` on `pool`, goes on where the coroutine runs, and rethrows what `work` threw.
template <class F>
boost::asio::awaitable<void> on_pool(boost::asio::thread_pool& pool, F work) {
  namespace asio = boost::asio;
  std::exception_ptr failure;
  auto start = [&](auto handler) {
    asio::post(pool, [&work, &failure, handler = std::move(handler)]() mutable {
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
      auto executor = asio::get_associated_executor(handler);
      asio::post(executor, std::move(handler));
    });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(start, asio::use_awaitable);
  if (failure) std::rethrow_exception(failure);
}

/// Work that goes on beside the coroutine that started it, one piece at a time. It refers to the coroutine's variables,
/// so wait() is called before these go.
class PoolJob {
public:
  PoolJob(boost::asio::thread_pool& pool, boost::asio::any_io_executor executor)
      : pool_(pool), executor_(std::move(executor)), bell_(executor_) {}

  bool busy() const { return busy_; }
  /// Not while busy.
  template <class F>
  void start(F work) {
    busy_ = true;
    boost::asio::post(pool_, [this, work = std::move(work)]() mutable {
      std::exception_ptr failure;
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
      boost::asio::post(executor_, [this, failure] {
        busy_ = false;
        failure_ = failure;
        bell_.cancel();
      });
    });
  }
  /// Returns what the last work threw, once.
  boost::asio::awaitable<std::exception_ptr> wait() {
    boost::system::error_code woken;
    while (busy_) {
      bell_.expires_at(std::chrono::steady_clock::time_point::max());
      co_await bell_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
    }
    co_return std::exchange(failure_, nullptr);
  }

private:
  boost::asio::thread_pool& pool_;
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer bell_;
  bool busy_ = false;
  std::exception_ptr failure_;
};

}  // namespace farfield::net
