#pragma once
// Of this room only: a coroutine waits for work that blocks, done on another thread.

#include <utility>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
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

}  // namespace farfield::net
