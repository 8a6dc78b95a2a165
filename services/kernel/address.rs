//! Which addresses the server may call on behalf of others: the public internet, and what the
//! operator allows. Pure rules; `runtime/egress.rs` applies them to every call and to every answer
//! of the resolver. Never resolves a name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Most bytes of a URL.
const URL_BYTES_MAX: usize = 2048;

/// Networks that are not the public internet: IANA's special-purpose registry, multicast and class
/// E.
const CLOSED_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// The only part of IPv6 that is the public internet…
const OPEN_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// …but for protocol assignments with Teredo, documentation, 6to4 and AS112.
const CLOSED_V6: [(Ipv6Addr, u8); 6] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2001, 0x0004, 0x0112, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x004f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Which addresses may be called.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// An address that may not be called, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked(pub String);

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Blocked {}

impl AddressPolicy {
    /// The public internet, and these networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// True when the address may be called. An IPv4 address in IPv6's clothes counts as what it is.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address)) || is_public(address)
    }

    /// Reads a URL and checks all that can be known without resolving its name.
    ///
    /// # Errors
    /// [`Blocked`], with the reason.
    pub fn check_url(&self, text: &str) -> Result<Url, Blocked> {
        let refuse = |why: &str| Err(Blocked(why.to_owned()));
        if text.len() > URL_BYTES_MAX {
            return refuse("the URL is longer than 2048 bytes");
        }
        let Ok(url) = Url::parse(text) else { return refuse("the URL cannot be read") };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("the URL must begin with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the URL must not carry a user name or a password");
        }
        if !url.port().is_none_or(|port| matches!(port, 80 | 443) || port >= 1024) {
            return refuse("the port must be 80, 443 or at least 1024");
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return refuse("the URL has no host"),
        };
        match literal {
            Some(address) if !self.permits(address) => refuse("the address is not public"),
            _ => Ok(url),
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !CLOSED_V4.iter().any(|(net, bits)| Ipv4Net::new_assert(*net, *bits).contains(&address))
        }
        IpAddr::V6(address) => {
            let within =
                |(net, bits): &(Ipv6Addr, u8)| Ipv6Net::new_assert(*net, *bits).contains(&address);
            within(&OPEN_V6) && !CLOSED_V6.iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these would reach something that is not the public internet, or is no call that we
    /// make.
    const BLOCKED: &[&str] = &[
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.1:8080/",
        "http://127.255.255.254/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1./",
        "http://0/",
        "http://0.0.0.0/",
        "http://0.1.2.3/",
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://100.64.0.1/",
        "http://100.127.255.254/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.0.0.1/",
        "http://192.0.0.170/",
        "http://192.0.2.1/",
        "http://192.88.99.1/",
        "http://192.168.0.1/",
        "http://192.168.255.255/",
        "http://198.18.0.1/",
        "http://198.19.255.255/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://224.0.0.1/",
        "http://239.255.255.255/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b:1::10.0.0.1]/",
        "http://[100::1]/",
        "http://[2001::1]/",
        "http://[2001:0:7f00:1::]/",
        "http://[2001:2::1]/",
        "http://[2001:10::1]/",
        "http://[2001:db8::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[3fff::1]/",
        "http://[5f00::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com@127.0.0.1/",
        "http://example.com:22/",
        "http://example.com:25/",
        "https://example.com:1023/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "unix:/var/run/docker.sock",
        "//example.com/",
        "example.com",
        "http://",
        "",
    ];
    const OPEN: &[&str] = &[
        "https://example.com/",
        "http://example.com:80/hook?x=1",
        "https://example.com:8443/",
        "http://example.com:3000/",
        "http://8.8.8.8/",
        "http://134744072/",
        "http://9.255.255.255/",
        "http://11.0.0.1/",
        "http://100.63.255.255/",
        "http://172.32.0.1/",
        "http://192.0.1.1/",
        "http://198.20.0.1/",
        "http://223.255.255.255/",
        "http://[2606:4700:4700::1111]/",
        "http://[2a00:1450:4001:80b::200e]/",
        "http://[::ffff:8.8.8.8]/",
        "https://bücher.example/",
    ];

    #[test]
    fn every_way_to_write_a_private_address_is_blocked() {
        let policy = AddressPolicy::default();
        for url in BLOCKED {
            assert!(policy.check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_public_internet_is_open() {
        let policy = AddressPolicy::default();
        for url in OPEN {
            assert_eq!(policy.check_url(url).err(), None, "{url}");
        }
    }

    #[test]
    fn an_allowed_network_is_open_and_nothing_beside_it() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
        for url in ["http://127.0.0.1:8080/", "http://2130706433/", "http://[::ffff:127.0.0.1]/"] {
            assert!(policy.check_url(url).is_ok(), "{url}");
        }
        for url in ["http://10.0.0.1/", "http://[::1]/", "http://127.0.0.1:22/"] {
            assert!(policy.check_url(url).is_err(), "{url}");
        }
    }
}
