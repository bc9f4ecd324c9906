#include "farfield/services/flow/bodies.hpp"

#include <gtest/gtest.h>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/run.hpp"
#include "farfield/services/flow/testing.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

template <class Parse>
std::string mistake(const Parse& parse, const char* body) {
  try {
    parse(body);
  } catch (const Error& e) {
    return std::string(core::traits(e.code()).name) + " " + e.message();
  }
  return "none";
}

TEST(TransferBody, BothSpellings) {
  const auto old_form =
      parse_transfer_body(R"({"source_endpoint_id": "s", "destination_endpoint_id": "d", "label": "l", "sync_level": 3,
    "transfer_items": [{"source_path": "/a", "destination_path": "/b", "recursive": true}, {"source_path": "/c", "destination_path": "/d"}]})");
  EXPECT_EQ(old_form.source_endpoint, "s");
  EXPECT_EQ(old_form.destination_endpoint, "d");
  ASSERT_EQ(old_form.items.size(), 2U);
  EXPECT_TRUE(old_form.items[0].recursive);
  EXPECT_FALSE(old_form.items[1].recursive);
  EXPECT_EQ(old_form.sync_level, 3);
  EXPECT_TRUE(old_form.verify_checksum);
  const auto new_form = parse_transfer_body(
      R"({"source_endpoint": "s", "destination_endpoint": "d", "DATA": [{"source_path": "/a", "destination_path": "/b"}]})");
  EXPECT_EQ(new_form.source_endpoint, "s");
  EXPECT_EQ(new_form.items[0].destination_path, "/b");
  EXPECT_FALSE(new_form.sync_level);
}

TEST(TransferBody, MistakesHaveTheirPath) {
  const auto of = [](const char* body) { return mistake(parse_transfer_body, body); };
  EXPECT_EQ(of(R"({"destination_endpoint_id": "d"})"), "invalid_argument /: source_endpoint_id is missing");
  EXPECT_EQ(of(R"({"source_endpoint_id": "s", "destination_endpoint_id": "d", "transfer_items": []})"),
            "invalid_argument /transfer_items: a list of at least one is needed");
  EXPECT_EQ(
      of(R"({"source_endpoint_id": "s", "destination_endpoint_id": "d", "transfer_items": [{"source_path": "/a"}]})"),
      "invalid_argument /transfer_items/0: destination_path is missing");
  EXPECT_EQ(
      of(R"({"source_endpoint_id": "s", "destination_endpoint_id": "d", "sync_level": 4, "transfer_items": [{}]})"),
      "invalid_argument /sync_level: 4 must be a number from 0 to 3");
  EXPECT_EQ(of(R"({"delete_destination_extra": true})"), "unsupported /delete_destination_extra is not supported");
  EXPECT_EQ(of("[]").substr(0, 16), "invalid_argument");
}

TEST(TransferBody, FollowIsAsked) {
  const auto with = [](const std::string& follow) {
    return parse_transfer_body(R"({"source_endpoint": "s", "destination_endpoint": "d", "DATA":
      [{"source_path": "/a", "destination_path": "/b"}], "follow": )" +
                               follow + "}");
  };
  EXPECT_FALSE(with("null").follow);
  EXPECT_FALSE(with("false").follow);
  EXPECT_EQ(with("true").follow->quiet_s, 5);
  const auto marked = with(R"({"marker": "*.done", "quiet_s": 0})").follow.value();
  EXPECT_EQ(marked.marker, "*.done");
  EXPECT_EQ(marked.quiet_s, 0);
  for (const auto& [bad, said] : {std::pair(R"({"quiet_s": 0})", "needs a marker"),
                                  {R"({"quiet_s": -1})", "/follow/quiet_s: -1 must be a number from 0"},
                                  {R"({"quiet": 1})", "/follow/quiet is not supported"},
                                  {R"("yes")", "must be an object, true or false, not string"}})
    EXPECT_NE(mistake(with, bad).find(said), std::string::npos) << mistake(with, bad);
}

TEST(ComputeBody, ThreeForms) {
  const auto tasks = parse_compute_body(
      R"({"tasks": [{"endpoint": "e", "func": "f", "payload": {"x": 1}}, {"endpoint": "e2", "func": "g", "payload": 5}]})");
  EXPECT_EQ(tasks.form, ComputeForm::tasks);
  ASSERT_EQ(tasks.tasks.size(), 2U);
  EXPECT_EQ(tasks.tasks[0].args, R"([{"x":1}])");
  EXPECT_EQ(tasks.tasks[1].endpoint, "e2");
  EXPECT_EQ(compute_details(tasks.form, {{"t1", R"({"y": 2})"}, {"t2", "7"}}), R"({"result":[{"y":2},7]})");

  const auto function = parse_compute_body(R"({"endpoint": "e", "function": "f", "kwargs": {"x": 1}})");
  EXPECT_EQ(function.form, ComputeForm::function);
  EXPECT_EQ(function.tasks.at(0).kwargs, R"({"x":1})");
  EXPECT_EQ(function.tasks.at(0).args, "[]");
  EXPECT_EQ(compute_details(function.form, {{"t", "1"}}), R"({"result":[1]})");

  const auto v3 = parse_compute_body(
      R"({"endpoint_id": "e", "tasks": [{"function_id": "f", "args": [1, "a"], "kwargs": {}}], "user_endpoint_config": {"queue": "q"},
    "resource_specification": {"num_nodes": 2, "ranks_per_node": 4, "num_ranks": 8}})");
  EXPECT_EQ(v3.form, ComputeForm::endpoint);
  EXPECT_EQ(v3.tasks.at(0).args, R"([1,"a"])");
  EXPECT_EQ(v3.endpoint_config, R"({"queue":"q"})");
  EXPECT_EQ(v3.resources->num_ranks, 8);
  EXPECT_EQ(compute_details(v3.form, {{"t", "1"}}), R"({"results":[{"output":1,"task_id":"t"}]})");
  EXPECT_FALSE(
      parse_compute_body(R"({"endpoint_id": "e", "tasks": [{"function_id": "f"}], "resource_specification": {}})")
          .resources);
}

TEST(ComputeBody, MistakesHaveTheirPath) {
  const auto of = [](const char* body) { return mistake(parse_compute_body, body); };
  EXPECT_EQ(of("{}"), "invalid_argument /: endpoint is missing");
  EXPECT_EQ(of(R"({"tasks": [{"endpoint": "e"}]})"), "invalid_argument /tasks/0: func is missing");
  EXPECT_EQ(of(R"({"tasks": []})"), "invalid_argument /tasks: a list of at least one is needed");
  EXPECT_EQ(of(R"({"endpoint_id": "e", "tasks": [{"function_id": "f", "args": {}}]})"),
            "invalid_argument /tasks/0/args: must be a list, not object");
  EXPECT_EQ(
      of(R"({"endpoint_id": "e", "tasks": [{"function_id": "f"}], "resource_specification": {"num_nodes": 1, "ranks_per_node": 2, "num_ranks": 3}})"),
      "invalid_argument /resource_specification/num_ranks: 3 ranks do not fit on 1 nodes with 2 each");
  EXPECT_EQ(of(R"({"endpoint": "e", "function": "f", "extra": 1})"), "unsupported /extra is not supported");
}

// The bodies that the flow of the language's own page makes are the ones understood here.
TEST(Bodies, OfTheScanFlow) {
  flow::Run run(parse_definition(testing::kScanFlow), {{"run_id", "r"}});
  run.start(
      testing::json(
          R"({"input": {"source_ep": "s", "dest_ep": "d", "local_dir": "/l", "data_dir": "/data", "compute_ep": "c", "recon_fn": "f"}})"),
      1);
  const auto next = [&] {
    ActionRequest request;
    for (const Effect& effect : run.take_effects())
      if (const auto* start = std::get_if<StartAction>(&effect)) request = start->request;
    ActionUpdate update;
    update.key = request.key;
    update.state = ActionUpdate::State::succeeded;
    run.on_action(update, 2);
    return request.body;
  };
  EXPECT_EQ(parse_transfer_body(next()).items.at(0).destination_path, "/data");
  EXPECT_EQ(parse_compute_body(next()).tasks.at(0).function, "f");
  EXPECT_EQ(parse_transfer_body(next()).items.at(0).source_path, "/data/recon");
}

}  // namespace
}  // namespace farfield::services::flow
