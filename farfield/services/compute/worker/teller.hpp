#pragma once
// What a worker tells its endpoint. Ends of short tasks are told in groups while other tasks wait, as a message costs
// more than such a task; what runs for less than a moment is told by its end alone.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "farfield/net/websocket.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

/// Thread-safe; calls nobody back.
class Teller {
public:
  using Clock = std::chrono::steady_clock;

  /// A line is to be made: nothing goes out until greet(). Ends that were not told are dropped, as they are in the
  /// journal; that the running task has begun is told anew, and who takes no work says so in greeting.
  void restart();
  /// On its new line a worker says who it is and what it ended, then what happened since restart(). False: the line
  /// does not take it.
  bool greet(std::shared_ptr<net::WebSocket> socket, const Hello& hello, const std::vector<TaskEnd>& ends);
  void hang_up();

  void begun(TaskBegin begin);
  /// `more` tasks wait: their ends may go along with this one. The caller calls tell().
  void ended(TaskEnd end, bool more);
  void progress(TaskProgress progress);
  void log(TaskLog line);
  /// That no work is taken any more.
  void leaves();
  /// At once; the latest wins.
  void preview(const Preview& preview);

  /// Sends what is due. False: there is no line, or it does not take it.
  bool tell();
  bool empty() const;  ///< nothing waits, but for news of a task that runs

  /// Until something is due, stir() is called, or `until`.
  void wait(Clock::time_point until);
  void stir();

private:
  struct News {
    bool leaves = false;
    std::optional<TaskBegin> begun{};
    Progressed progressed{};
    Logged logged{};
    std::vector<TaskEnd> ended{};
  };
  News take(Clock::time_point now);
  Clock::time_point due() const;
  void looked_for(Clock::time_point time);
  static bool say(net::WebSocket& socket, const Message& message);
  static bool say_ended(net::WebSocket& socket, const std::vector<TaskEnd>& ends);

  std::mutex sending_;  ///< held while messages are sent, so that they go in order; taken before `mutex_`
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<net::WebSocket> socket_;
  bool open_ = false, stirred_ = false;
  Clock::time_point looks_at_ = Clock::time_point::min();  ///< when wait() will look by itself; min: nobody waits

  bool leaves_ = false;
  std::optional<TaskBegin> begun_;  ///< of what runs
  bool begun_told_ = false;
  Clock::time_point begun_at_{};
  std::vector<TaskEnd> ended_;
  bool hold_ = true;  ///< other tasks wait
  Clock::time_point ended_at_{};  ///< the first of them
  std::map<TaskKey, TaskProgress> progress_;
  std::deque<TaskLog> lines_;
  Clock::time_point told_{};  ///< progress or lines
};

}  // namespace farfield::services::compute
