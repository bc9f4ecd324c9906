#include "farfield/services/auth/scope.hpp"

#include <gtest/gtest.h>

namespace farfield::services::auth {
namespace {

bool covers(const char* a, const char* b) { return parse_scope(a)->covers(*parse_scope(b)); }

TEST(Scope, ReadsAndWrites) {
  for (const auto* text :
       {"read:/experiments/2026-1-Garcia-1234", "write:/experiments/a/raw/scan_1", "farfield", "transfer.agent"})
    EXPECT_EQ(parse_scope(text)->text(), text);
  EXPECT_EQ(format_scopes(*parse_scopes("  farfield read:/experiments/a  farfield ")), "farfield read:/experiments/a");
  EXPECT_EQ(parse_scope("run:/experiments/a")->action(), Action::run);
  EXPECT_EQ(parse_scope("farfield")->action(), std::nullopt);
}

TEST(Scope, PathsThatLeadElsewhereAreRefused) {
  for (const auto* text : {"",
                           ":",
                           "read:",
                           "read:/",
                           "read:/experiments",
                           "read:/experiments/",
                           "read:/experiments//a",
                           "read:/other/a",
                           "read:experiments/a",
                           "read:/experiments/..",
                           "read:/experiments/a/..",
                           "read:/experiments/a/../b",
                           "read:/experiments/a/",
                           "read:/experiments/a//b",
                           "read:/experiments/a/.",
                           "read:/experiments/a/%2e%2e",
                           "read:/experiments/-a",
                           "read:/experiments/a\n",
                           "READ:/experiments/a",
                           "delete:/experiments/a",
                           "farfield:/experiments/a",
                           "read:/experiments/a:b"})
    EXPECT_FALSE(parse_scope(text)) << text;
  EXPECT_FALSE(parse_scope("read:/experiments/" + std::string(129, 'a')));
  std::string many;
  for (int i = 0; i < 101; ++i) many += "s" + std::to_string(i) + " ";
  EXPECT_FALSE(parse_scopes(many));
}

TEST(Scope, CoversItselfAndWhatLiesBelow) {
  EXPECT_TRUE(covers("read:/experiments/a", "read:/experiments/a"));
  EXPECT_TRUE(covers("read:/experiments/a", "read:/experiments/a/raw"));
  EXPECT_TRUE(covers("farfield", "farfield"));
  EXPECT_FALSE(covers("read:/experiments/a/raw", "read:/experiments/a"));
  EXPECT_FALSE(covers("read:/experiments/a/raw", "read:/experiments/a/rawer"));  // a prefix of text is no parent
  EXPECT_FALSE(covers("read:/experiments/a", "read:/experiments/ab"));
  EXPECT_FALSE(covers("read:/experiments/a", "write:/experiments/a"));
  EXPECT_FALSE(covers("farfield", "read:/experiments/a"));
}

TEST(Scope, RolesAllowMoreFromStepToStep) {
  const Action all[] = {Action::read, Action::write, Action::run, Action::manage};
  int allowed[3] = {};
  for (const Role role : {Role::viewer, Role::member, Role::owner})
    for (const Action action : all) allowed[static_cast<int>(role)] += allows(role, action);
  EXPECT_EQ(allowed[0], 1);
  EXPECT_EQ(allowed[1], 3);
  EXPECT_EQ(allowed[2], 4);
  EXPECT_FALSE(allows(Role::viewer, Action::write));
  EXPECT_FALSE(allows(Role::member, Action::manage));
  EXPECT_EQ(parse_role("member"), Role::member);
  EXPECT_THROW(parse_role("admin"), core::Error);
}

TEST(Scope, Names) {
  for (const auto* good : {"a", "garcia", "agent-7", "0.x_y"}) EXPECT_NO_THROW(check_name("user", good));
  for (const auto& bad : {std::string(), std::string("A"), std::string("-a"), std::string("a b"), std::string("a:b"),
                          std::string("a/b"), std::string("a\0b", 3), std::string("\xc3\xa4"), std::string(65, 'a')})
    EXPECT_THROW(check_name("user", bad), core::Error) << bad;
}

}  // namespace
}  // namespace farfield::services::auth
