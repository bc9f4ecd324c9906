#include <algorithm>
#include <deque>

#include "farfield/core/error.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/parallel/mailbox.hpp"

namespace farfield::parallel {
namespace {

class Alone final : public Communicator, public Mailbox {
public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(std::span<float>, Reduce) override {}
  void all_reduce(std::span<double>, Reduce) override {}
  void broadcast(std::span<std::byte>, int) override {}
  void exchange(std::span<const Message> messages) override {
    for (const Message& m : messages) std::copy(m.send.begin(), m.send.end(), m.receive.begin());  // to itself
  }
  void barrier() override {}
  std::size_t bytes_sent() const override { return 0; }

  void send(int, std::vector<std::byte> bytes) override { mail_.push_back({0, std::move(bytes)}); }
  // Nobody else could send anything, however long one waits.
  std::optional<Mail> receive(double) override {
    if (mail_.empty()) return std::nullopt;
    std::optional<Mail> first(std::move(mail_.front()));
    mail_.pop_front();
    return first;
  }
  void flush() override {}

private:
  std::deque<Mail> mail_;
};

}  // namespace

std::unique_ptr<Communicator> make_alone() { return std::make_unique<Alone>(); }

Mailbox& mailbox(Communicator& communicator) {
  if (auto* box = dynamic_cast<Mailbox*>(&communicator)) return *box;
  throw core::Error(core::ErrorCode::unsupported, "this communicator carries no mail");
}

}  // namespace farfield::parallel
