// The two pages where a person gives a password: agreeing to a device code, and to an authorisation code. Plain forms
// without scripts; the password goes with the decision, so that there is no session that another site could use.

#include <fmt/format.h>

#include "farfield/services/auth/http.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

net::Response page(int status, const std::string& body) {
  auto response = net::Response::of(
      status, "text/html; charset=utf-8",
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Farfield</title>"
      "<meta name=\"viewport\" content=\"width=device-width\"><style>body{font:16px "
      "system-ui;max-width:26em;margin:4em auto;"
      "padding:0 1em}label,input,button{display:block;width:100%;box-sizing:border-box;margin:.4em 0;font:inherit}"
      "input,button{padding:.5em}</style></head><body><h1>Farfield</h1>" +
          body + "</body></html>");
  response.headers.add("Cache-Control", "no-store");
  response.headers.add("Content-Security-Policy",
                       "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
  response.headers.add("Referrer-Policy", "no-referrer");
  response.headers.add("X-Content-Type-Options", "nosniff");
  response.headers.add("X-Frame-Options", "DENY");
  return response;
}

net::Response message(int status, const std::string& text) { return page(status, "<p>" + escaped(text) + "</p>"); }

std::string hidden(const std::string& name, const std::string& value) {
  return fmt::format("<input type=\"hidden\" name=\"{}\" value=\"{}\">", name, escaped(value));
}

std::string login_form(const std::string& action, const std::string& hidden_fields, const std::string& why) {
  return fmt::format(
      "{}<form method=\"post\" action=\"{}\">{}<label>User <input name=\"user\" autocomplete=\"username\" "
      "required></label>"
      "<label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>"
      "<button name=\"decision\" value=\"approve\">Allow</button><button name=\"decision\" value=\"deny\" "
      "formnovalidate>Refuse"
      "</button></form>",
      why.empty() ? "" : "<p><strong>" + escaped(why) + "</strong></p>", action, hidden_fields);
}

std::string asked(const std::string& client, const std::string& scope) {
  return fmt::format("<p><b>{}</b> asks for: {}</p>", escaped(client), escaped(scope.empty() ? "your name" : scope));
}

struct Fields {
  net::QueryFields fields;
  std::string get(std::string_view name) const {
    for (const auto& [key, value] : fields)
      if (key == name) return value;
    return {};
  }
};

Fields form_of(const net::Request& request) { return {core::value_or_throw(net::parse_query(request.body))}; }

/// The subject, if user and password are right; else why not.
core::Result<std::string> log_in(Directory& directory, const Fields& form) {
  try {
    if (directory.check_password(form.get("user"), form.get("password"))) return user_subject(form.get("user"));
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
    return tl::unexpected(e);
  }
  return core::failure(ErrorCode::unauthenticated, "Wrong user or password.");
}

net::Response device_page(const Issuer& issuer, const std::string& code, const std::string& why, int status) {
  const auto waiting = issuer.device_request(code);
  if (!waiting) {
    const std::string note =
        code.empty() ? "" : "<p><strong>No such code is waiting; it may have expired.</strong></p>";
    return page(
        code.empty() ? 200 : 404,
        note +
            "<form method=\"get\" action=\"/device\"><label>Code shown by the program "
            "<input name=\"code\" autocapitalize=\"characters\" required></label><button>Continue</button></form>");
  }
  return page(status, asked(waiting->client, waiting->scope) +
                          "<p>Go on only if you have just started it yourself, and it shows the code <b>" +
                          escaped(code) + "</b>.</p>" + login_form("/device", hidden("code", code), why));
}

net::Response decide_device(const net::Request& request, Issuer& issuer) {
  const auto form = form_of(request);
  const std::string code = form.get("code");
  if (!issuer.device_request(code)) return device_page(issuer, code, {}, 404);
  // Whoever has the code may refuse; agreeing needs a name.
  if (form.get("decision") != "approve") {
    issuer.decide_device(code, "", false);
    return message(200, "Refused. You can close this page.");
  }
  const auto subject = log_in(issuer.directory(), form);
  if (!subject) return device_page(issuer, code, subject.error().message(), 403);
  if (!issuer.decide_device(code, *subject, true)) return device_page(issuer, code, {}, 404);
  return message(200, "Done. You can close this page and go back to the program.");
}

Issuer::CodeRequest code_request(const Fields& f) {
  return {f.get("client_id"), f.get("redirect_uri"), f.get("scope"), f.get("code_challenge"),
          f.get("code_challenge_method")};
}

net::Response redirect(const std::string& uri, const net::QueryFields& fields) {
  net::Response response;
  response.status = 303;
  response.headers.add("Location", uri + (uri.find('?') == std::string::npos ? "?" : "&") + net::format_query(fields));
  response.headers.add("Cache-Control", "no-store");
  response.headers.add("Referrer-Policy", "no-referrer");
  return response;
}

/// Both halves of /oauth/authorize: errors go to the client's redirect URI once that is known to be its own, and stay
/// here until then.
net::Response authorize(const Fields& f, Issuer& issuer, bool decided) {
  const auto request = code_request(f);
  try {
    issuer.check_redirect(request.client, request.redirect);
  } catch (const Error& e) {
    return message(400, e.message());
  }
  const std::string state = f.get("state");
  const auto answer = [&](net::QueryFields fields) {
    if (!state.empty()) fields.emplace_back("state", state);
    fields.emplace_back("iss", issuer.options().issuer);  // RFC 9207: against mix-up
    return redirect(request.redirect, fields);
  };
  try {
    if (f.get("response_type") != "code") throw OAuthError("unsupported_response_type", "response_type must be code");
    issuer.check_code_request(request);
    if (decided && f.get("decision") != "approve") throw OAuthError("access_denied", "the user has refused");
    std::string why;
    if (decided) {
      const auto subject = log_in(issuer.directory(), f);
      if (subject) return answer({{"code", issuer.begin_code(request, *subject)}});
      why = subject.error().message();
    }
    std::string kept;
    for (const auto* name :
         {"response_type", "client_id", "redirect_uri", "scope", "code_challenge", "code_challenge_method", "state"})
      kept += hidden(name, f.get(name));
    return page(why.empty() ? 200 : 403,
                asked(request.client, request.scope) + login_form("/oauth/authorize", kept, why));
  } catch (const OAuthError& e) {
    return answer({{"error", e.error()}, {"error_description", e.message()}});
  }
}
}  // namespace

void add_page_routes(net::Router& router, Access& access) {
  Issuer& issuer = access.issuer();
  router.get("/device", [&issuer](const net::Request& r) {
    const auto* code = r.query("code");
    return device_page(issuer, code == nullptr ? std::string() : *code, {}, 200);
  });
  router.post("/device", [&issuer](const net::Request& r) { return decide_device(r, issuer); });
  router.get("/oauth/authorize",
             [&issuer](const net::Request& r) { return authorize({r.decoded.query}, issuer, false); });
  router.post("/oauth/authorize", [&issuer](const net::Request& r) { return authorize(form_of(r), issuer, true); });
}

}  // namespace farfield::services::auth
