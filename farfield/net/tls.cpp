#include "farfield/net/tls.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;
namespace fs = std::filesystem;

template <auto free>
struct Freed {
  template <class T>
  void operator()(T* p) const {
    free(p);
  }
};
template <class T, auto free>
using Owned = std::unique_ptr<T, Freed<free>>;
using Key = Owned<EVP_PKEY, EVP_PKEY_free>;
using Certificate = Owned<X509, X509_free>;
using Bio = Owned<BIO, BIO_free>;

template <class T>
T* checked(T* p, std::string_view what) {
  if (p == nullptr) throw Error(ErrorCode::internal, fmt::format("OpenSSL: cannot {}", what));
  return p;
}
void check(int result, std::string_view what) {
  if (result <= 0) throw Error(ErrorCode::internal, fmt::format("OpenSSL: cannot {}", what));
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  const long n = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(n)};
}

void add_extension(X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION, X509_EXTENSION_free> extension(
      checked(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), "make a certificate extension"));
  check(X509_add_ext(certificate, extension.get(), -1), "add a certificate extension");
}

bool is_address(const std::string& name) {
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(AF_INET, name.c_str(), buffer) == 1 || inet_pton(AF_INET6, name.c_str(), buffer) == 1;
}

void write_atomically(const fs::path& path, const std::string& text, mode_t mode) {
  std::string temporary = path.string() + ".XXXXXX.tmp";
  const auto fail = [&] {
    const Error error = core::system_error(errno, "cannot write " + path.string());
    ::unlink(temporary.c_str());
    throw error;
  };
  const int descriptor = ::mkostemps(temporary.data(), 4, O_CLOEXEC);  // mode 0600 from the start
  if (descriptor < 0) fail();
  const bool written = ::fchmod(descriptor, mode) == 0 &&
                       ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(descriptor) == 0;
  if (::close(descriptor) != 0 || !written || ::rename(temporary.c_str(), path.c_str()) != 0) fail();
}
}  // namespace

void make_self_signed(const TlsIdentity& files, const std::vector<std::string>& names, int days) {
  if (names.empty() || days < 1 || days > 36500)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a certificate of {} names for {} days: at least one name, 1 to 36500 days", names.size(), days));
  std::string alternatives;
  for (const auto& name : names) {
    if (name.empty() || name.find_first_of(",:\n") != std::string::npos)
      if (!is_address(name))
        throw Error(ErrorCode::invalid_argument, fmt::format("{:?} is no name for a certificate", name));
    alternatives += fmt::format("{}{}:{}", alternatives.empty() ? "" : ",", is_address(name) ? "IP" : "DNS", name);
  }
  const Key key(checked(EVP_EC_gen("P-256"), "make a key"));
  const Certificate certificate(checked(X509_new(), "make a certificate"));
  X509* x = certificate.get();
  check(X509_set_version(x, 2), "set the version");
  unsigned char serial[16];
  check(RAND_bytes(serial, sizeof serial), "draw a serial number");
  serial[0] &= 0x7f;
  const Owned<BIGNUM, BN_free> number(checked(BN_bin2bn(serial, sizeof serial, nullptr), "make a serial number"));
  checked(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x)), "set the serial number");
  checked(X509_gmtime_adj(X509_getm_notBefore(x), -3600), "set the start");
  checked(X509_time_adj_ex(X509_getm_notAfter(x), days, 0, nullptr), "set the end");
  X509_NAME* subject = X509_get_subject_name(x);
  const std::string common = names.front().substr(0, 64);  // the limit of RFC 5280
  check(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common.data()),
                                   static_cast<int>(common.size()), -1, 0),
        "set the subject");
  check(X509_set_issuer_name(x, subject), "set the issuer");
  check(X509_set_pubkey(x, key.get()), "set the public key");
  add_extension(x, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(x, NID_key_usage, "critical,digitalSignature");
  add_extension(x, NID_ext_key_usage, "serverAuth");
  add_extension(x, NID_subject_alt_name, alternatives);
  check(X509_sign(x, key.get(), EVP_sha256()), "sign the certificate");

  const Bio key_text(checked(BIO_new(BIO_s_mem()), "allocate")), text(checked(BIO_new(BIO_s_mem()), "allocate"));
  check(PEM_write_bio_PKCS8PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr),
        "write the key");
  check(PEM_write_bio_X509(text.get(), x), "write the certificate");
  write_atomically(files.key, contents(key_text.get()), 0600);
  write_atomically(files.certificate, contents(text.get()), 0644);
}

CertificateInfo read_certificate(const fs::path& path) {
  const Bio file(BIO_new_file(path.c_str(), "r"));
  if (!file) {
    ERR_clear_error();
    throw Error(ErrorCode::not_found, fmt::format("cannot read the certificate {}", path.string()));
  }
  const Certificate certificate(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr));
  if (!certificate) {
    ERR_clear_error();
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is no certificate in PEM form", path.string()));
  }
  CertificateInfo info;
  char* subject = X509_NAME_oneline(X509_get_subject_name(certificate.get()), nullptr, 0);
  if (subject != nullptr) info.subject = subject;
  OPENSSL_free(subject);
  int days = 0, seconds = 0;
  check(ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate.get())), "read the end of validity");
  info.days_left = days + seconds / 86400.0;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  check(X509_digest(certificate.get(), EVP_sha256(), digest, &length), "take the fingerprint");
  for (unsigned int i = 0; i < length; ++i) info.sha256 += fmt::format("{:02x}", digest[i]);
  const Owned<GENERAL_NAMES, GENERAL_NAMES_free> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      const ASN1_STRING* text = name->d.dNSName;
      info.names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                              static_cast<std::size_t>(ASN1_STRING_length(text)));
    } else if (name->type == GEN_IPADD) {
      char buffer[INET6_ADDRSTRLEN] = "";
      const int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
      if (inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), buffer, sizeof buffer) != nullptr)
        info.names.emplace_back(buffer);
    }
  }
  return info;
}

void check_private(const fs::path& key) {
  struct stat status{};
  if (::stat(key.c_str(), &status) != 0) throw core::system_error(errno, "cannot read the key " + key.string());
  if (!S_ISREG(status.st_mode) || (status.st_mode & 077) != 0)
    throw Error(ErrorCode::forbidden,
                fmt::format("key {} has mode {:04o}: it must be a file that only its owner can read (chmod 600)",
                            key.string(), status.st_mode & 07777));
}

}  // namespace farfield::net
