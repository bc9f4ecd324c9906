// Any bytes as a token, a key set, scopes: refusals are errors, never more.

#include <cstdint>
#include <string_view>

#include "farfield/services/auth/token.hpp"

using namespace farfield::services::auth;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A P-256 key (RFC 7515, A.3), so that tokens get as far as their signature.
  static constexpr std::string_view kKeys =
      R"({"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
      R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})";
  static const Verifier& verifier = *[] {
    auto* v = new Verifier({"https://farfield.test", {"https://farfield.test"}}, [] { return 1'800'000'000; });
    if (!v->set_keys(kKeys)) __builtin_trap();
    return v;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (verifier.verify(text)) __builtin_trap();  // nobody has the private key here
  (void)PublicKeys::parse(text);
  if (const auto scopes = parse_scopes(text)) {
    const auto again = parse_scopes(format_scopes(*scopes));
    if (!again || format_scopes(*again) != format_scopes(*scopes)) __builtin_trap();
  }
  return 0;
}
