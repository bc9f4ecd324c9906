#include "farfield/services/compute/protocol.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;
using ::testing::HasSubstr;

const TaskKey kKey{"0190a-task", 3};

template <class M>
M round_trip(const M& message) {
  const std::string text = encode(message);
  const Message read = decode(text);
  EXPECT_EQ(encode(read), text);
  return std::get<M>(read);
}

ErrorCode refused(const std::string& text) {
  try {
    (void)decode(text);
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "taken: " << text;
  return ErrorCode::internal;
}

FunctionRecord reconstruct() {
  FunctionRecord f;
  f.name = "reconstruct";
  f.version = 4;
  f.kind = FunctionKind::code;
  f.owner = "user:garcia";
  f.experiment = "2026-1-Garcia-1";
  f.command = {"bin/run", "--in={in:scan}", "{{x}"};
  f.environment = {{"OMP_NUM_THREADS", "4"}, {"EMPTY", ""}};
  f.input_schema = R"({"type":"object"})";
  f.archive = std::string(64, 'a');
  f.created_s = 1.8e9;
  return f;
}

TEST(Protocol, HelloComesAsItWasSent) {
  Hello hello;
  hello.program = "farfield 1.2";
  hello.known = {kKey, {"b", 1}};
  hello.verbs = {{.name = "farfield.ptychography.reconstruct", .kind = FunctionKind::verb}};
  hello.capacity = {.workers = 8,
                    .idle = 2,
                    .starting = 4,
                    .most = 16,
                    .gpu_slots = 2,
                    .nodes_per_block = 3,
                    .longest_s = 3599.5,
                    .confines = true};
  hello.worker = "block-1/node2/7";
  const Hello read = round_trip(hello);
  EXPECT_EQ(read.protocol, kProtocol);
  EXPECT_EQ(read.program, hello.program);
  EXPECT_EQ(read.known, hello.known);
  ASSERT_EQ(read.verbs.size(), 1U);
  EXPECT_EQ(read.verbs[0].name, hello.verbs[0].name);
  EXPECT_EQ(read.capacity.workers, 8);
  EXPECT_EQ(read.capacity.idle, 2);
  EXPECT_EQ(read.capacity.starting, 4);
  EXPECT_EQ(read.capacity.most, 16);
  EXPECT_EQ(read.capacity.gpu_slots, 2);
  EXPECT_EQ(read.capacity.nodes_per_block, 3);
  EXPECT_EQ(read.capacity.longest_s, 3599.5);
  EXPECT_TRUE(read.capacity.confines);
  EXPECT_EQ(read.worker, hello.worker);
}

TEST(Protocol, AssignmentsComeAsTheyWereSentAndShareTheirFunctions) {
  Assign assign;
  for (int i = 0; i < 3; ++i) {
    Assignment a;
    a.key = {"task" + std::to_string(i), 1};
    a.function = reconstruct();
    if (i == 2) a.function.version = 5;
    a.request.function = "reconstruct@4";
    a.request.endpoint = "cluster";
    a.request.experiment = "2026-1-Garcia-1";
    a.request.arguments = R"({"scan":"input/scan100","sigma":0.1,"text":"\u0000\n"})";
    a.request.resources = {.nodes = 2, .ranks = 64, .gpu_slots = 1, .walltime_s = 600};
    a.request.priority = Priority::urgent;
    a.request.attempts = 5;
    a.request.deadline_s = 12.5;
    a.request.owner = "user:garcia";
    a.request.label = "Größe";
    a.resume = i == 1;
    assign.tasks.push_back(a);
  }
  const Assign read = round_trip(assign);
  ASSERT_EQ(read.tasks.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const Assignment &was = assign.tasks[i], &is = read.tasks[i];
    EXPECT_EQ(is.key, was.key);
    EXPECT_EQ(is.function.version, was.function.version);
    EXPECT_EQ(is.function.command, was.function.command);
    EXPECT_EQ(is.function.environment, was.function.environment);
    EXPECT_EQ(is.function.archive, was.function.archive);
    EXPECT_EQ(is.request.arguments, was.request.arguments);
    EXPECT_EQ(is.request.resources.ranks, 64);
    EXPECT_EQ(is.request.resources.walltime_s, 600);
    EXPECT_EQ(is.request.priority, Priority::urgent);
    EXPECT_EQ(is.request.label, was.request.label);
    EXPECT_EQ(is.resume, was.resume);
  }
  Assign once;
  once.tasks = {assign.tasks[0]};
  EXPECT_LT(encode(assign).size(), 3 * encode(once).size());
}

TEST(Protocol, WhatHappensToTasksComesAsItWasSent) {
  Ended ended;
  ended.tasks = {{kKey, Ending::done, R"({"cost":[0.5,1e-300]})", "", {1, 2, 3, 4, 5}, "b", "n", "w"},
                 {{"x", 1}, Ending::lost, "null", "the node went away"}};
  const Ended read = round_trip(ended);
  EXPECT_EQ(read.tasks[0].key, kKey);
  EXPECT_EQ(read.tasks[0].ending, Ending::done);
  EXPECT_EQ(read.tasks[0].output, ended.tasks[0].output);
  EXPECT_EQ(read.tasks[0].times.assigned_s, 3);
  EXPECT_EQ(read.tasks[0].times.ended_s, 5);
  EXPECT_EQ(read.tasks[0].node, "n");
  EXPECT_EQ(read.tasks[1].ending, Ending::lost);
  EXPECT_EQ(read.tasks[1].problem, "the node went away");
  EXPECT_EQ(round_trip(Begun{{{kKey, {}, "b", "n", "w"}}}).tasks[0].worker, "w");
  EXPECT_EQ(round_trip(Progressed{{{kKey, 0.25, "pass 3"}}}).tasks[0].progress, 0.25);
  EXPECT_EQ(round_trip(Logged{{{kKey, "line"}}}).lines[0].line, "line");
  EXPECT_EQ(round_trip(Cancel{{"a", "b"}}).tasks, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(round_trip(Stored{{kKey}}).ends, std::vector{kKey});
  EXPECT_TRUE(round_trip(Watch{"a", true}).on);
  EXPECT_EQ(round_trip(Leave{"walltime"}).reason, "walltime");
  EXPECT_EQ(round_trip(CapacityNow{{.most = 3}}).capacity.most, 3);
}

TEST(Protocol, WhatASenderWritesAReceiverTakes) {
  // A program may print anything: NUL, bytes that are no UTF-8, a line of megabytes.
  std::string odd = "a";
  odd += '\0';
  odd += "\xC3\x28 \xED\xA0\x80 \xF4\x90\x80\x80 \xE2\x82\xAC \xF0\x9F\x98\x80";
  EXPECT_EQ(round_trip(Logged{{{kKey, odd}}}).lines[0].line,
            "a\uFFFD\uFFFD( \uFFFD\uFFFD\uFFFD \uFFFD\uFFFD\uFFFD\uFFFD \u20AC \U0001F600");
  EXPECT_LE(round_trip(Logged{{{kKey, std::string(1 << 20, '\xFF')}}}).lines[0].line.size(), 64U << 10);
  EXPECT_EQ(round_trip(Progressed{{{kKey, std::nan("")}}}).tasks[0].progress, 0);
  EXPECT_EQ(round_trip(Progressed{{{kKey, 7}}}).tasks[0].progress, 1);
  EXPECT_THROW(encode(Ended{{{kKey, Ending::done, "\"" + std::string(kInlineOutput, 'x') + "\""}}}), Error);
  EXPECT_THROW(encode(Ended{{{kKey, Ending::done, "{"}}}), Error);
}

TEST(Protocol, AMessageIsOneLineWhateverItHolds) {
  // Journals keep one in each line.
  Assign assign;
  assign.tasks.resize(1);
  Assignment& a = assign.tasks[0];
  a.key = kKey;
  a.function = reconstruct();
  a.request.function = "reconstruct";
  a.request.endpoint = "cluster";
  a.request.arguments = "{\n  \"b\": 1,\n  \"a\": \"\\n\"\n}";
  a.request.label = "one\ntwo \"three\" \\ \x7F";
  const std::string text = encode(assign);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const Assign read = round_trip(assign);
  EXPECT_EQ(read.tasks[0].request.arguments, R"({"a":"\n","b":1})");
  EXPECT_EQ(read.tasks[0].request.label, a.request.label);
  const Ended ended{{{kKey, Ending::done, "[1,\n2]", "first\nsecond"}}};
  EXPECT_EQ(encode(ended).find('\n'), std::string::npos);
  EXPECT_EQ(round_trip(ended).tasks[0].output, "[1,2]");
  EXPECT_EQ(round_trip(ended).tasks[0].problem, "first\nsecond");
}

TEST(Protocol, RefusesWhatIsNoMessage) {
  for (const char* text : {"",
                           "{",
                           "[]",
                           "null",
                           "{}",
                           R"({"kind":7})",
                           R"({"kind":"helo"})",
                           R"({"kind":"hello"})",
                           R"({"kind":"hello","protocol":"1"})",
                           R"({"kind":"hello","protocol":1,"known":{}})",
                           R"({"kind":"hello","protocol":1,"known":[["a"]]})",
                           R"({"kind":"hello","protocol":1,"known":[["a",0]]})",
                           R"({"kind":"hello","protocol":1,"known":[["a",-1]]})",
                           R"({"kind":"hello","protocol":1,"known":[["a",1e3]]})",
                           R"({"kind":"hello","protocol":1,"known":[["a",99999999999]]})",
                           R"({"kind":"hello","protocol":1,"known":[["../a",1]]})",
                           R"({"kind":"hello","protocol":1,"capacity":{"most":-1}})",
                           R"({"kind":"hello","protocol":1,"capacity":{"longest_s":1e300}})",
                           R"({"kind":"hello","protocol":1,"verbs":[{"name":"x","kind":"spell"}]})",
                           R"({"kind":"ended","tasks":[{"key":["a",1]}]})",
                           R"({"kind":"ended","tasks":[{"key":["a",1],"ending":"eaten"}]})",
                           R"({"kind":"ended","tasks":[{"key":["a",1],"ending":"done","problem":"a\u0000b"}]})",
                           R"({"kind":"progress","tasks":[{"key":["a",1],"progress":1.5}]})",
                           R"({"kind":"assign","functions":[],"tasks":[{"key":["a",1],"function":0,"request":{}}]})",
                           R"({"kind":"watch","task":"a"})",
                           R"({"kind":"cancel","tasks":[7]})"})
    EXPECT_EQ(refused(text), ErrorCode::corrupt_data) << text;
  EXPECT_EQ(refused(std::string(100'000, '[')), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(std::string((16 << 20) + 1, ' ')), ErrorCode::corrupt_data);
  EXPECT_EQ(refused(std::string("{\"kind\":\"leave\"}\0", 17)), ErrorCode::corrupt_data);
}

TEST(Protocol, PreviewsComeAsTheyWereSent) {
  const Preview preview{
      "task", "object.phase", "zstd", 12, "u16", {128, 256}, -1.5, 3e-7, std::string("\0\xFFpixels", 8)};
  const Preview read = decode_preview(encode_preview(preview));
  EXPECT_EQ(read.task, preview.task);
  EXPECT_EQ(read.name, preview.name);
  EXPECT_EQ(read.kind, preview.kind);
  EXPECT_EQ(read.step, preview.step);
  EXPECT_EQ(read.dtype, preview.dtype);
  EXPECT_EQ(read.shape, preview.shape);
  EXPECT_EQ(read.low, preview.low);
  EXPECT_EQ(read.high, preview.high);
  EXPECT_EQ(read.bytes, preview.bytes);
}

TEST(Protocol, RefusesWhatIsNoPreview) {
  const auto refuse = [](Preview p) { EXPECT_THROW(decode_preview(encode_preview(p)), Error) << p.name; };
  const Preview good{"task", "object", "png", 1, "", {}, 0, 0, "bytes"};
  for (const char* name : {"", "a/b", "..", "-a", "a b"}) {
    Preview p = good;
    p.name = name;
    refuse(p);
  }
  Preview p = good;
  p.kind = "svg";
  refuse(p);
  p.kind = "zstd";
  refuse(p);  // without a type
  p = good;
  p.shape = {-1};
  refuse(p);
  p.shape = {1LL << 40};
  refuse(p);
  for (const std::string& text : {std::string(), std::string("\1\0\0", 3), std::string("\1\0\0\0", 4),
                                  std::string("\xFF\xFF\xFF\xFF{}", 6), std::string("\2\0\0\0{}", 6)})
    EXPECT_THROW(decode_preview(text), Error);
}

}  // namespace
}  // namespace farfield::services::compute
