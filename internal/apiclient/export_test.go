package apiclient

// Known counts the credentials that are kept.
func (s *Shared) Known() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.credentials)
}
