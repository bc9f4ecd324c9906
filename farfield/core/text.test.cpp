#include "farfield/core/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace farfield::core {
namespace {
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Text, BetweenCommas) {
  EXPECT_THAT(between_commas("a,b"), ElementsAre("a", "b"));
  EXPECT_THAT(between_commas(" a b ,, c\t,"), ElementsAre("a b", "c"));
  EXPECT_THAT(between_commas("one"), ElementsAre("one"));
  for (const auto* nothing : {"", ",", " , ,, "}) EXPECT_THAT(between_commas(nothing), IsEmpty());
}

}  // namespace
}  // namespace farfield::core
