#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/parallel/mailbox.hpp"
#include "farfield/parallel/threads.hpp"

namespace farfield::parallel {
namespace {

// What every communicator must do, whatever carries its bytes. Runs on each rank.

template <class T>
void check_reduce(Communicator& c) {
  const auto n = static_cast<T>(c.size()), r = static_cast<T>(c.rank());
  std::vector<T> v{r, 1, -r, r * r};
  c.all_reduce(v, Reduce::sum);
  EXPECT_EQ(v, (std::vector<T>{n * (n - 1) / 2, n, -n * (n - 1) / 2, (n - 1) * n * (2 * n - 1) / 6}));
  v = {r, -r};
  c.all_reduce(v, Reduce::max);
  EXPECT_EQ(v, (std::vector<T>{n - 1, 0}));
  v = {r, -r};
  c.all_reduce(v, Reduce::min);
  EXPECT_EQ(v, (std::vector<T>{0, 1 - n}));
  c.all_reduce(std::span<T>(), Reduce::sum);
}

void check_same_bits(Communicator& c) {
  // Sums that depend on the order of adding must still be the same everywhere.
  std::vector<float> v(1000);
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = 1.0F / static_cast<float>(1 + i + 77 * static_cast<std::size_t>(c.rank()));
  c.all_reduce(v, Reduce::sum);
  std::vector<float> first = v;
  c.broadcast(std::as_writable_bytes(std::span(first)), 0);
  EXPECT_EQ(std::memcmp(v.data(), first.data(), v.size() * sizeof(float)), 0);
}

/// Everybody writes twice to everybody, then hears from all of them, each in order; then nothing more comes.
void check_mail(Communicator& c) {
  Mailbox& box = mailbox(c);
  for (int to = 0; to < c.size(); ++to)
    for (int part = 0; part < 2; ++part)
      box.send(to, std::vector<std::byte>(static_cast<std::size_t>(100 * c.rank() + part), std::byte(to)));
  std::vector<int> heard(static_cast<std::size_t>(c.size()), 0);
  for (int i = 0; i < 2 * c.size(); ++i) {
    const auto mail = box.receive(30);
    ASSERT_TRUE(mail.has_value());
    const int part = heard.at(static_cast<std::size_t>(mail->from))++;
    EXPECT_EQ(mail->bytes,
              std::vector<std::byte>(static_cast<std::size_t>(100 * mail->from + part), std::byte(c.rank())));
  }
  EXPECT_FALSE(box.receive(0).has_value());
  box.flush();
  c.barrier();
}

void check_broadcast(Communicator& c) {
  for (int root = 0; root < c.size(); ++root) {
    std::vector<std::byte> bytes(17, std::byte(c.rank() == root ? 42 + root : 0));
    c.broadcast(bytes, root);
    EXPECT_EQ(bytes, std::vector<std::byte>(17, std::byte(42 + root)));
  }
}

/// All ranks to all others at once, in an order that differs between the two ends, of sizes that differ by direction;
/// two messages to the same peer arrive in their order.
void check_exchange(Communicator& c) {
  const auto length = [](int from, int to) { return static_cast<std::size_t>(1000 * from + to); };
  std::vector<std::vector<std::byte>> send, receive;
  std::vector<int> peers;
  for (int i = 0; i < c.size(); ++i)
    if (const int peer = (i * (c.rank() % 2 == 0 ? 1 : c.size() - 1)) % c.size();
        peer != c.rank() && std::count(peers.begin(), peers.end(), peer) == 0)
      peers.push_back(peer);
  for (const int peer : peers)
    for (int part = 0; part < 2; ++part) {
      send.emplace_back(length(c.rank(), peer), std::byte(10 * c.rank() + part));
      receive.emplace_back(length(peer, c.rank()));
    }
  std::vector<Communicator::Message> messages;
  for (std::size_t i = 0; i < send.size(); ++i) messages.push_back({peers[i / 2], send[i], receive[i]});
  const std::size_t before = c.bytes_sent();
  c.exchange(messages);
  std::size_t sent = 0;
  for (std::size_t i = 0; i < send.size(); ++i) {
    EXPECT_EQ(receive[i], std::vector<std::byte>(length(peers[i / 2], c.rank()),
                                                 std::byte(10 * peers[i / 2] + static_cast<int>(i % 2))));
    sent += send[i].size();
  }
  EXPECT_EQ(c.bytes_sent() - before, sent);
  c.exchange({});
}

void check_everything(Communicator& c) {
  check_reduce<float>(c);
  check_reduce<double>(c);
  check_same_bits(c);
  check_broadcast(c);
  check_exchange(c);
  check_mail(c);
  c.barrier();
}

TEST(Communicator, Alone) {
  const auto c = make_alone();
  EXPECT_EQ(c->size(), 1);
  EXPECT_EQ(c->rank(), 0);
  check_everything(*c);
}

TEST(Communicator, Threads) {
  for (const int size : {1, 2, 3, 5}) run_as_ranks(size, check_everything);
}

TEST(Communicator, Mpi) {
  if (!built_with_mpi()) {
    try {
      make_mpi();
      FAIL() << "there is no MPI to make";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), core::ErrorCode::unsupported);
    }
    GTEST_SKIP() << "built without MPI";
  }
  const auto c = make_mpi();  // as many ranks as mpirun started
  check_everything(*c);
  check_everything(*make_mpi());
}

TEST(Threads, AFailingRankFreesTheOthers) {
  EXPECT_THROW(run_as_ranks(3,
                            [](Communicator& c) {
                              if (c.rank() == 1) throw std::runtime_error("bad disk");
                              c.barrier();
                            }),
               std::runtime_error);
  EXPECT_THROW(run_as_ranks(0, [](Communicator&) {}), core::Error);
}

TEST(Threads, SizesMustAgree) {
  EXPECT_THROW(run_as_ranks(2,
                            [](Communicator& c) {
                              std::vector<double> v(static_cast<std::size_t>(3 + c.rank()));
                              c.all_reduce(v, Reduce::sum);
                            }),
               core::Error);
}

}  // namespace
}  // namespace farfield::parallel
