"""The provider's administration API below `/v1/organization`: dashboards and exporters written for it read Bursar."""
