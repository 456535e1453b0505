//! `listeners`, `advertised.listeners` and `listener.security.protocol.map`: where to listen and what clients are told.

use super::def::{ConfigError, split_list};

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals, as Kafka compares names.
    pub name: String,
    /// The host as written, without brackets; empty for every interface.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
}

/// What clients of one listener are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The listener's name.
    pub listener: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// The listeners that are opened, and what is advertised for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// To open.
    pub listeners: Vec<Listener>,
    /// Where not the address that the client dialled.
    pub advertised: Vec<Advertised>,
    /// Names given in `listeners` that belong to Kafka's controller: accepted, not opened.
    pub controllers: Vec<String>,
}

/// The settings that endpoints are made of, as given.
#[derive(Clone, Copy, Debug)]
pub struct EndpointSettings<'a> {
    /// `listeners`.
    pub listeners: &'a str,
    /// `advertised.listeners`.
    pub advertised: Option<&'a str>,
    /// `listener.security.protocol.map`.
    pub protocols: &'a str,
    /// `controller.listener.names`.
    pub controllers: &'a str,
    /// `inter.broker.listener.name`.
    pub inter_broker: Option<&'a str>,
}

impl EndpointSettings<'_> {
    /// Checks them against each other as Kafka does, and leaves out the controller's listeners.
    pub fn resolve(&self) -> Result<Endpoints, ConfigError> {
        let controller_names: Vec<String> =
            split_list(self.controllers).iter().map(|name| name.to_uppercase()).collect();
        let protocols = parse_protocols(self.protocols)?;
        let (controllers, listeners): (Vec<_>, Vec<_>) =
            parse("listeners", self.listeners)?.into_iter().partition(|one| controller_names.contains(&one.name));
        if listeners.is_empty() {
            return Err(ConfigError::invalid(
                "listeners",
                self.listeners,
                "names only controller listeners (controller.listener.names); add one for clients, such as \
                 PLAINTEXT://:9092",
            ));
        }
        distinct(self.listeners, &listeners)?;
        for listener in &listeners {
            plaintext(&listener.name, &protocols)?;
        }
        let advertised = self.advertised(&listeners, &controller_names)?;
        if let Some(name) = self.inter_broker
            && !listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(name))
        {
            let reason = format!("must be one of the listeners: {}", names(&listeners));
            return Err(ConfigError::invalid("inter.broker.listener.name", name, reason));
        }
        let controllers = controllers.into_iter().map(|listener| listener.name).collect();
        Ok(Endpoints { listeners, advertised, controllers })
    }

    fn advertised(&self, listeners: &[Listener], controllers: &[String]) -> Result<Vec<Advertised>, ConfigError> {
        const NAME: &str = "advertised.listeners";
        let text = self.advertised.unwrap_or_default();
        let mut result = Vec::new();
        for one in parse(NAME, text)? {
            if controllers.contains(&one.name) {
                continue;
            }
            if !listeners.iter().any(|listener| listener.name == one.name) {
                let reason = format!("{} is not one of the listeners: {}", one.name, names(listeners));
                return Err(ConfigError::invalid(NAME, text, reason));
            }
            if matches!(one.host.as_str(), "" | "0.0.0.0" | "::") {
                let reason = "needs a host that clients can reach; without this setting clients are told the address \
                              that they dialled";
                return Err(ConfigError::invalid(NAME, text, reason));
            }
            if result.iter().any(|earlier: &Advertised| earlier.listener == one.name) {
                return Err(ConfigError::invalid(NAME, text, format!("names {} twice", one.name)));
            }
            result.push(Advertised { listener: one.name, host: one.host, port: one.port });
        }
        Ok(result)
    }
}

fn names(listeners: &[Listener]) -> String {
    listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// `NAME://host:port`, separated by commas.
fn parse(setting: &str, text: &str) -> Result<Vec<Listener>, ConfigError> {
    split_list(text)
        .iter()
        .map(|one| {
            parse_one(one).ok_or_else(|| {
                ConfigError::invalid(
                    setting,
                    text,
                    format!("{one} is not of the form NAME://host:port (port 0 to 65535)"),
                )
            })
        })
        .collect()
}

fn parse_one(text: &str) -> Option<Listener> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => host,
    };
    let port = port.parse().ok()?;
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte));
    (!name.is_empty() && plain).then(|| Listener { name: name.to_uppercase(), host: host.to_owned(), port })
}

/// Kafka: no name twice, and no port twice but for the same name space of IPv4 and IPv6; here the operating system
/// decides on addresses when they are bound, so that only what can never work is refused.
fn distinct(text: &str, listeners: &[Listener]) -> Result<(), ConfigError> {
    for (index, listener) in listeners.iter().enumerate() {
        let earlier = listeners.iter().take(index);
        if earlier.clone().any(|other| other.name == listener.name) {
            return Err(ConfigError::invalid("listeners", text, format!("names {} twice", listener.name)));
        }
        if listener.port != 0 && earlier.clone().any(|other| other.port == listener.port && other.host == listener.host)
        {
            return Err(ConfigError::invalid("listeners", text, format!("uses port {} twice", listener.port)));
        }
    }
    Ok(())
}

/// `NAME:PROTOCOL`, separated by commas.
fn parse_protocols(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    const NAME: &str = "listener.security.protocol.map";
    split_list(text)
        .iter()
        .map(|pair| {
            let (name, protocol) = pair
                .rsplit_once(':')
                .ok_or_else(|| ConfigError::invalid(NAME, text, format!("{pair} is not of the form NAME:PROTOCOL")))?;
            let protocol = protocol.trim().to_uppercase();
            if !PROTOCOLS.contains(&protocol.as_str()) {
                let reason = format!("{protocol} is none of {}", PROTOCOLS.join(", "));
                return Err(ConfigError::invalid(NAME, text, reason));
            }
            Ok((name.trim().to_uppercase(), protocol))
        })
        .collect()
}

/// The listener's protocol must be one that can be served.
fn plaintext(name: &str, protocols: &[(String, String)]) -> Result<(), ConfigError> {
    match protocols.iter().rev().find(|(listener, _)| listener == name).map(|(_, protocol)| protocol.as_str()) {
        Some("PLAINTEXT") => Ok(()),
        Some(protocol) => Err(ConfigError::Conflict(format!(
            "listener {name} asks for {protocol}, and this version of Ottla serves PLAINTEXT only; \
             use a PLAINTEXT listener on a network that you trust"
        ))),
        None => Err(ConfigError::Conflict(format!(
            "listener {name} has no security protocol; add {name}:PLAINTEXT to listener.security.protocol.map"
        ))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const DEFAULT_MAP: &str = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

    fn settings(listeners: &str) -> EndpointSettings<'_> {
        EndpointSettings { listeners, advertised: None, protocols: DEFAULT_MAP, controllers: "", inter_broker: None }
    }

    fn listener(name: &str, host: &str, port: u16) -> Listener {
        Listener { name: name.into(), host: host.into(), port }
    }

    #[test]
    fn hosts_may_be_empty_names_v4_and_v6() {
        let parsed =
            parse("listeners", "PLAINTEXT://:9092, in_1://broker-1.local:1 ,V6://[::1]:0,ANY://[::]:65535").unwrap();
        assert_eq!(
            parsed,
            [
                listener("PLAINTEXT", "", 9092),
                listener("IN_1", "broker-1.local", 1),
                listener("V6", "::1", 0),
                listener("ANY", "::", 65535)
            ]
        );
    }

    #[test]
    fn what_is_not_name_host_port_is_refused_with_the_form() {
        for bad in [
            "9092",
            "PLAINTEXT://host",
            "PLAINTEXT://host:port",
            "://host:1",
            "A://h:65536",
            "A://h:-1",
            "A://a b:1",
            "A://[::1:1",
        ] {
            let error = settings(bad).resolve().unwrap_err().to_string();
            assert!(error.contains("listeners") && error.contains("NAME://host:port"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_stock_combined_node_keeps_its_client_listener_only() {
        let endpoints = EndpointSettings {
            advertised: Some("PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            controllers: "CONTROLLER",
            inter_broker: Some("PLAINTEXT"),
            ..settings("PLAINTEXT://:9092,CONTROLLER://:9093")
        }
        .resolve()
        .unwrap();
        assert_eq!(endpoints.listeners, [listener("PLAINTEXT", "", 9092)]);
        assert_eq!(endpoints.controllers, ["CONTROLLER"]);
        let advertised = Advertised { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 };
        assert_eq!(endpoints.advertised, [advertised]);
    }

    #[test]
    fn only_controllers_is_no_broker() {
        let only = EndpointSettings { controllers: "C", ..settings("C://:9093") };
        assert!(only.resolve().unwrap_err().to_string().contains("PLAINTEXT://:9092"));
    }

    #[test]
    fn protocols_come_from_the_map() {
        let mapped = EndpointSettings { protocols: "external:plaintext", ..settings("EXTERNAL://:1") };
        assert!(mapped.resolve().is_ok());
        let tls = settings("SSL://:1").resolve().unwrap_err().to_string();
        assert!(tls.contains("SSL") && tls.contains("PLAINTEXT only"), "{tls}");
        let unmapped = settings("EXTERNAL://:1").resolve().unwrap_err().to_string();
        assert!(unmapped.contains("EXTERNAL:PLAINTEXT"), "{unmapped}");
        let wrong = EndpointSettings { protocols: "A:TLS", ..settings("A://:1") }.resolve().unwrap_err().to_string();
        assert!(wrong.contains("TLS is none of"), "{wrong}");
    }

    #[test]
    fn advertised_listeners_are_listeners_with_a_host() {
        let advertise = |text| EndpointSettings { advertised: Some(text), ..settings("PLAINTEXT://:9092") }.resolve();
        assert!(advertise("PLAINTEXT://host:1").is_ok());
        assert!(advertise("OTHER://host:1").unwrap_err().to_string().contains("OTHER is not one of the listeners"));
        for unreachable in ["PLAINTEXT://:1", "PLAINTEXT://0.0.0.0:1", "PLAINTEXT://[::]:1"] {
            assert!(advertise(unreachable).unwrap_err().to_string().contains("host that clients can reach"));
        }
        assert!(advertise("PLAINTEXT://a:1,PLAINTEXT://b:2").unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn names_and_ports_are_used_once() {
        assert!(settings("PLAINTEXT://a:1,plaintext://b:2").resolve().unwrap_err().to_string().contains("twice"));
        let same_port = EndpointSettings { protocols: "A:PLAINTEXT,B:PLAINTEXT", ..settings("A://h:1,B://h:1") };
        assert!(same_port.resolve().unwrap_err().to_string().contains("port 1 twice"));
        let free_ports = EndpointSettings { protocols: "A:PLAINTEXT,B:PLAINTEXT", ..settings("A://h:0,B://h:0") };
        assert!(free_ports.resolve().is_ok());
    }

    #[test]
    fn the_inter_broker_listener_is_a_listener() {
        let settings = EndpointSettings { inter_broker: Some("REPLICATION"), ..settings("PLAINTEXT://:1") };
        let error = settings.resolve().unwrap_err().to_string();
        assert!(error.contains("inter.broker.listener.name") && error.contains("PLAINTEXT"), "{error}");
    }
}
